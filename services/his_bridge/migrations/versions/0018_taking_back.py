"""Which insurer has a released bill, and under which account a merged one goes on."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What was taken went to whom its consent names; of what still waits nobody knows."""
    op.add_column("released_bill", sa.Column("handed_to", sa.String(80), nullable=True))
    op.add_column("released_bill", sa.Column("goes_on_as", sa.String(32), nullable=True))
    op.create_index("ix_released_bill_goes_on", "released_bill", ["hospital", "goes_on_as", "seq"])
    op.execute(
        "UPDATE released_bill SET handed_to = (SELECT consent.recipient FROM consent WHERE "
        "consent.hospital = released_bill.hospital AND "
        "consent.consent_id = released_bill.consent_id) WHERE delivery = 'TAKEN'"
    )


def downgrade() -> None:
    """Refuse: what an insurer has could not be taken back any more."""
    raise NotImplementedError("what was handed out is remembered; restore a backup instead")

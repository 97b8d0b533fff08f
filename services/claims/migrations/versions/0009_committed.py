"""What may tell of an illness leaves the clear columns of a decision; a commitment stays."""

import sqlalchemy as sa
from alembic import op

from services.common.database import refuse_rows

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Take reason, clause, outcome and both hashes out: the sealed output has them.

    Refuses when there are decisions: their commitments need salts under people's keys.
    """
    refuse_rows(op.get_bind(), ("decision", "decision_line", "decision_share"))
    op.drop_column("decision_share", "reason")
    op.drop_column("decision_share", "clause")
    op.drop_column("decision_line", "outcome")
    op.drop_column("decision", "input_hash")
    op.drop_column("decision", "output_hash")
    op.add_column("decision", sa.Column("commitment", sa.String(64), nullable=False))
    op.add_column("decision", sa.Column("salt", sa.LargeBinary, nullable=False))


def downgrade() -> None:
    """Refuse: what the columns held stands sealed only."""
    raise NotImplementedError("reasons and hashes stand sealed only; restore a backup instead")

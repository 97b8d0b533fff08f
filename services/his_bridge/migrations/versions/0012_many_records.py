"""What spares reading all that a bill of many records, or a record of many versions, ever said."""

import sqlalchemy as sa
from alembic import op

from services.common.database import CannotMigrate

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add an index of versions, and what is known of an event and of a release without opening it.

    Raises: CannotMigrate when a bill was released more than once: the numbers of lines that left it
    stand sealed in its earlier releases.
    """
    again = "SELECT 1 FROM released_bill GROUP BY hospital, external_index HAVING count(*) > 1"
    if op.get_bind().execute(sa.text(f"{again} LIMIT 1")).first() is not None:
        raise CannotMigrate(
            "released_bill: bills of an older version that were released more than once cannot be "
            "carried over; start with a new database"
        )
    versions = ["hospital", "channel", "external_index", "updated_us", "id"]
    op.create_index("ix_inbox_versions", "inbox", versions)
    op.add_column(
        "bill_event",
        sa.Column("takes_back", sa.Boolean, nullable=False, server_default=sa.true()),
    )
    op.add_column("released_bill", sa.Column("other_numbers", sa.LargeBinary))


def downgrade() -> None:
    """Refuse: what the numbers say could not be made again."""
    raise NotImplementedError("what was numbered stays so; restore a backup instead")

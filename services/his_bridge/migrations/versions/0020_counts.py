"""Records by what became of them, counted without reading any; files of a drop folder taken."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both; the next look at the folder fills the column."""
    op.create_index("ix_inbox_state", "inbox", ["hospital", "channel", "state"])
    taken = sa.Column("taken_files", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("pull_progress", taken)


def downgrade() -> None:
    """Drop both: nothing rests on them."""
    op.drop_column("pull_progress", "taken_files")
    op.drop_index("ix_inbox_state", "inbox")

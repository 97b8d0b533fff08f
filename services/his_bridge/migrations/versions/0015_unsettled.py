"""Files that lie in a folder and do not count yet."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns; the next look at the folder fills them."""
    unsettled = sa.Column("unsettled", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("pull_progress", unsettled)
    op.add_column("pull_progress", sa.Column("settle_us", sa.BigInteger, nullable=True))


def downgrade() -> None:
    """Drop them: nothing rests on them."""
    op.drop_column("pull_progress", "settle_us")
    op.drop_column("pull_progress", "unsettled")

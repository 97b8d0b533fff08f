"""Files of a drop folder that were refused as a whole."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; the next look at the folder fills it."""
    refused = sa.Column("refused_files", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("pull_progress", refused)


def downgrade() -> None:
    """Drop it: nothing rests on it."""
    op.drop_column("pull_progress", "refused_files")

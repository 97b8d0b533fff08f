"""Why the account of a provider that somebody proposed was rejected or withdrawn."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the reason; of what was rejected before none was asked."""
    note = sa.Column("note", sa.String(500), nullable=False, server_default="")
    op.add_column("provider_account_word", note)

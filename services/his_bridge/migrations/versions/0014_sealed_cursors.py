"""Where a source's next page begins is sealed: its own ids and names of files stand there."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forget the cursors that stand in clear: sources are read anew, and the inbox knows them."""
    op.execute("DELETE FROM read_cursor")


def downgrade() -> None:
    """Refuse nothing: without a cursor an older bridge reads anew, too."""
    op.execute("DELETE FROM read_cursor")

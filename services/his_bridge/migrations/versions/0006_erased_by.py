"""Who had somebody erased: the tenant and the role, of erasures from here on."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two columns, empty in what was done before.

    The table's one definition has them by now, so that a database made anew has them already.
    """
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("erasure")}
    for name, length in (("tenant", 80), ("role", 32)):
        if name not in there:
            column = sa.Column(name, sa.String(length), nullable=False, server_default="")
            op.add_column("erasure", column)


def downgrade() -> None:
    """Refuse: who had somebody erased is kept."""
    raise NotImplementedError("erasures are kept; restore a backup instead")

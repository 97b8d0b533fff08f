"""Leaves of evidence say whose they are: the tenant that read, and the record's owner."""

from alembic import op

from services.common.evidence.whose import say_whose

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns beside the leaves, and fill them from the leaves' bytes."""
    say_whose(op.get_bind())


def downgrade() -> None:
    """Refuse: a tenant's auditors would see no leaf, or all."""
    raise NotImplementedError("without the columns no leaf is a tenant's; restore a backup instead")

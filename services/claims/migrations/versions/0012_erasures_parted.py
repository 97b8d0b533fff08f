"""No erasure leads from a guessed token to the opaque id that is left."""

from alembic import op

from services.common.sealing.parted import part_erasures

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forget the hashes that could be compared with a token's."""
    part_erasures(op.get_bind())


def downgrade() -> None:
    """Refuse: what was forgotten cannot come back."""
    raise NotImplementedError("what was forgotten cannot come back; restore a backup instead")

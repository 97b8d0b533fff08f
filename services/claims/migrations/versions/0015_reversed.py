"""When a hospital took a claim's bill back: until then nobody states it anew."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the time; by their histories, claims whose bill was taken back before have theirs."""
    op.add_column("claim", sa.Column("reversed_us", sa.BigInteger))
    proposed = sa.text("proposal IS NOT NULL")
    op.create_index(
        "ix_claim_proposed", "claim", ["seq"], sqlite_where=proposed, postgresql_where=proposed
    )
    op.execute(
        "UPDATE claim SET reversed_us = (SELECT MAX(at_us) FROM claim_move"
        " WHERE claim_move.claim_id = claim.id AND claim_move.actor = 'hospital'"
        " AND claim_move.event IN ('withdraw', 'reverse'))"
    )

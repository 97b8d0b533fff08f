"""What studies need: a person's token, sealed under the person's key, and who is in no study."""

import sqlalchemy as sa
from alembic import op

from services.common.database import append_only_ddl, refuse_rows

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both. Refuses when there are people: no token is read back out of a blind index."""
    bind = op.get_bind()
    refuse_rows(bind, ("person",))
    op.add_column("person", sa.Column("token", sa.LargeBinary))
    op.create_table(
        "study_exclusion",
        sa.Column("token_index", sa.String(length=64), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_index", name=op.f("pk_study_exclusion")),
    )
    for statement in append_only_ddl("study_exclusion", bind.dialect.name):
        bind.exec_driver_sql(statement)

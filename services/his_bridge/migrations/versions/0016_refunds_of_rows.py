"""What a refund of a bill's row takes from, where it was not yet kept."""

from alembic import op

from services.common.database import append_only_ddl

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Name the bill's own row in what was added to it and takes back.

    Else the next change of that row, which states the bill anew, would state it without the refund.
    Which of several rows of a bill is meant stands in the row's sealed bytes only: have the HIS
    touch such a refund.
    """
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    if on_sqlite:
        op.execute("DROP TRIGGER bill_event_no_update")
    else:
        op.execute("ALTER TABLE bill_event DISABLE TRIGGER bill_event_append_only")
    op.execute(
        "UPDATE bill_event SET reverses_index = external_index "
        "WHERE kind = 'LATE' AND takes_back AND reverses_index IS NULL "
        "AND record_index <> external_index AND EXISTS (SELECT 1 FROM bill_event AS whole "
        "WHERE whole.hospital = bill_event.hospital "
        "AND whole.external_index = bill_event.external_index "
        "AND whole.record_index = bill_event.external_index)"
    )
    if on_sqlite:
        op.execute(append_only_ddl("bill_event", "sqlite")[0])
    else:
        op.execute("ALTER TABLE bill_event ENABLE TRIGGER bill_event_append_only")


def downgrade() -> None:
    """Leave them: an older version reads the column of reversals alone."""

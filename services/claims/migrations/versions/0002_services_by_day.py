"""Earlier services are looked up by person and day: their codes are compared in the program."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index decided lines by person and service day instead of person, code and day."""
    columns = ["person_id", "service_date"]
    op.create_index("ix_decision_line_person_id_service_date", "decision_line", columns)
    op.drop_index("ix_decision_line_history", "decision_line")

"""Control and readmission of health-management partners, from files of months and stays."""

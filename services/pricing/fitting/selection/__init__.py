"""From what a fit indicated to what an actuary selected, and on to a tariff with its evidence."""

"""A fit of the made book, as the tests ask for it."""

from __future__ import annotations

from services.common.strict_yaml import load
from services.pricing.fitting.models.fit import About, fit
from services.pricing.fitting.models.fit_result import Fit, TableFit
from services.pricing.fitting.models.settings import FitSettings, read_fit
from services.pricing.fitting.section import Section
from tests.services.pricing.fitting.models.made_book import MadeBook

ABOUT = About(book="0" * 64, synthetic=True, run_card="0001-fit", currency="CNY")
SETTINGS = """\
fit:
  target_loss_ratio: none
  factors:
    age: {bands: ['30', '40', '50', '60'], last: '69', monotone: rising, base: '60'}
    sex: {base: F}
    condition: {base: none}
    hba1c:
      column: u_hba1c_percent
      feature: hba1c_percent
      places: 1
      bands: ['3.0', '7.0', '7.5', '8.0', '8.5']
      last: '20.0'
      monotone: rising
      applies_to: {feature: condition, levels: [type2_diabetes]}
      outcome: {flat_below: '7.0', one_reading_at_most: '0.40', least: '0.50'}
  causes:
    inpatient: {frequency: [age, sex, condition, hba1c], severity: [age]}
"""


def settings(text: str = SETTINGS) -> FitSettings:
    return read_fit(Section(load(text, "pricing.yaml")["fit"], "fit", []))


def fitted(book: MadeBook, text: str = SETTINGS) -> Fit:
    return fit(book.experience, book.claims, settings(text), ABOUT)


def table(found: Fit, name: str) -> TableFit:
    return next(one for one in found.causes[0].tables if one.name == name)

"""From a company's claims, policies and readings to a proposed tariff; offline, without a wire."""

"""Settings of hypothesis for the tests of the framework and of the plugins: no test fails because it is slow."""

from hypothesis import HealthCheck, settings

settings.register_profile("coupling", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("coupling")

"""A server on loopback for the tests of language-model agents."""

import pytest
from exchange import KEY

from agent_dynamics.language_model import Endpoint, Settings
from agent_dynamics.language_model.stand_in import StandIn


@pytest.fixture
def serve(monkeypatch):
    """Start a stand-in and an endpoint of it by the environment; both end with the
    test.
    """
    opened = []

    def start(settings=None, model="some-model", **options):
        server = StandIn(**options).__enter__()
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        endpoint = Endpoint(model, settings=settings or Settings(timeout=30.0))
        opened.append((server, endpoint))
        return server, endpoint

    yield start
    for server, endpoint in opened:
        endpoint.__exit__()
        server.__exit__()

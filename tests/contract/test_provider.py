"""The providers: the fake, and litellm behind the egress broker against a provider on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from contract.provider_contract import REPLY, ProviderContract, Wired
from provider import declared, recording_provider

from domicile.adapters.hosted import HostedProvider
from domicile.testing import ScriptedProvider


class TestScriptedProvider(ProviderContract):
    @pytest.fixture
    def wired(self) -> Wired:
        provider = ScriptedProvider([REPLY])
        return Wired(provider, lambda: provider.bodies)


class TestHostedProvider(ProviderContract):
    @pytest.fixture
    def wired(self) -> Iterator[Wired]:
        with recording_provider(REPLY) as server:
            provider = HostedProvider(declared(server.url), lambda: "sk-secret")
            yield Wired(provider, lambda: server.bodies)
            provider.close()

"""Attributes are loaded once."""

import threading
import time

from inres.system.loading import loaded_once


class Owner:
    loads = 0

    @loaded_once
    def value(self) -> object:
        """What takes long."""
        self.loads += 1
        time.sleep(0.05)
        return object()


def test_threads_that_use_an_attribute_first_load_it_once():
    owner, found = Owner(), []
    threads = [threading.Thread(target=lambda: found.append(owner.value)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert owner.loads == 1
    assert found == [owner.value] * 4
    assert Owner.value.__doc__ == "What takes long."
    assert Owner().value is not owner.value

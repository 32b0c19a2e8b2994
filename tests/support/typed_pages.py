"""Commands of a page of the documentation, typed into a shell, without the page's waits of fixed length."""

import shlex
from collections.abc import Iterable, Sequence
from typing import Final

SECONDS: Final = 240
"""How long a page may take: a minute for each of its waits would be too long for pytest-timeout."""

OPENING: Final = "set -euo pipefail; trap 'kill $(jobs -p) 2>/dev/null || :' EXIT"
ASKING: Final = """
asked=0
sleep() { :; }
dig() {
  local wanted="${answers[asked]}" shown="" waited=""
  asked=$((asked + 1))
  for _ in $(seq 600); do
    shown=$(command dig "$@") || :
    [ "$(sort <<<"$shown" | xargs)" = "$wanted" ] && break
    waited=yes
    command sleep 0.1
  done
  # The API follows the store by itself, so that it may be behind the answer.
  [ -z "$waited" ] || command sleep 1.5
  echo "$shown"
}
"""


def script(answers: Iterable[Sequence[str]], commands: Sequence[str], mark: str) -> str:
    """A bash script that prints `mark` after each command.

    answers: of each `dig` in the order of the commands, which is repeated for a minute until it shows them; `sleep`
    does nothing therefore.
    """
    told = " ".join(shlex.quote(" ".join(sorted(answer))) for answer in answers)
    return "\n".join([OPENING, f"answers=({told})", ASKING, *(f"{one}\necho; echo '{mark}'" for one in commands)])

"""A server with OpenAI's interface, whose answers are searched for with a policy and a step scorer."""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.serve.config import ServeConfig as ServeConfig
    from erprm.serve.run import run_server as run_server
    from erprm.serve.run import serving as serving

__all__, __getattr__, __dir__ = public_names(__name__, __file__)

"""What all clients of R services share: how a request travels, how a fit is followed, and what each failure means."""

import asyncio
import gzip
import hashlib
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import FrameType, TracebackType
from typing import Any, ClassVar, Literal, NoReturn, Self, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_chain, wait_fixed

from irt_analytics.errors import ConfigurationError, RefusedError, Skip, TemporaryError
from irt_analytics.progress import track
from irt_analytics.settings import Settings

ServiceName = Literal["irt", "glmm", "forecast", "brms"]

#: Seconds before the second, third and fourth request, where the one before found the service away or busy.
RETRY_WAITS = (5.0, 10.0, 15.0)
#: Answers of a service that is away or busy, or of what stands before it.
AWAY = frozenset({429, 502, 503, 504})
#: Seconds a fit may take where the task has no deadline of its own.
LONGEST_FIT = 3600.0
#: A client gives up this long before its task's deadline: time to cancel the fit and to say why.
MARGIN = timedelta(seconds=20)
#: Seconds to tell a service that nobody waits for its fit any more; a killed job has about three in all.
CANCEL_SECONDS = 2.0
FIRST_POLL, LONGEST_POLL, POLL_GROWTH = 0.1, 2.0, 1.5
#: Bodies under this many bytes travel as they are.
COMPRESS_FROM = 1024

TIMEOUT = httpx.Timeout(connect=10.0, read=120.0, write=120.0, pool=30.0)
LIMITS = httpx.Limits(max_connections=4, max_keepalive_connections=2, keepalive_expiry=15.0)

logger = logging.getLogger(__name__)

T = TypeVar("T")
ResultT = TypeVar("ResultT", bound="Result")


class Request(BaseModel):
    """Body of a request. A column is a list; fields that are None are not sent; NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def body(self) -> bytes:
        """Return the request as JSON; every double comes back from it bit for bit."""
        return self.model_dump_json(exclude_none=True).encode()


class Result(BaseModel):
    """What a service computed. Fields that this version does not know are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ServiceProblem(Result):
    """One entry of an answer's `errors`, or what ended a fit."""

    code: str
    detail: str


class Progress(Result):
    """How far a fit is: a share (0..1) where the method knows it, and a word on what it does."""

    fraction: float | None = None
    note: str | None = None


class FitStatus(Result):
    """State of a fit as the service tells it."""

    job_id: str
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    progress: Progress | None = None
    result: dict[str, Any] | None = None
    error: ServiceProblem | None = None
    seconds: float | None = None


class _Envelope(Result):
    status: Literal["success", "failure"]
    data: dict[str, Any] | None = None
    errors: list[ServiceProblem] = Field(default_factory=list)


class ServiceError(RuntimeError):
    """A service refused a request or failed at it in a way that no retry mends: a defect on one of the two sides.

    Also the cause (`__cause__`) of every other error that a client raises.

    Attributes:
        service: the service's name, such as r-glmm-plumber.
        code: the service's own code, or the HTTP status where it gave none.
        detail: the service's own words.
    """

    def __init__(self, service: str, action: str, code: str, detail: str) -> None:
        super().__init__(f"{service}: {action}: {code}: {detail}")
        self.service = service
        self.code = code
        self.detail = detail


class _AwayError(ServiceError):
    """The same request may succeed in some seconds."""


@dataclass(frozen=True)
class ServiceAddress:
    """Where a service is and what it lets in.

    Attributes:
        name: which of the services.
        url: scheme, host and port.
        token: the bearer token.
        deadline: until when an answer is of use; None leaves that to the client.
    """

    name: ServiceName
    url: str
    token: SecretStr
    deadline: datetime | None = None

    @property
    def label(self) -> str:
        """The service's name where it is deployed."""
        return f"r-{self.name}-plumber"


def address(settings: Settings, name: ServiceName) -> ServiceAddress:
    """Return where the settings say that a service is.

    Raises:
        Skip: there is no such service here, with the reason that the settings give.
        ConfigurationError: the settings do not say, or say it wrong; names the variable.
    """
    variable = f"R_{name.upper()}"
    url: str = getattr(settings, f"r_{name}_url").rstrip("/")
    token: SecretStr | None = getattr(settings, f"r_{name}_token")
    unavailable: str = getattr(settings, f"r_{name}_unavailable")
    if unavailable:
        raise Skip(f"there is no r-{name}-plumber here: {unavailable}", keep_writes=True)
    if not url:
        raise ConfigurationError(
            f"{variable}_URL is not set: expected the address of r-{name}-plumber, such as http://r-{name}-plumber:8000"
        )
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"{variable}_URL={url!r}: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query:
        raise ConfigurationError(
            f"{variable}_URL: expected http or https, a host and a port, such as http://r-{name}-plumber:8000; "
            f"it has the scheme {parsed.scheme!r} and the host {parsed.host!r}"
        )
    if token is None:
        raise ConfigurationError(
            f"{variable}_TOKEN is not set: expected the token that r-{name}-plumber was started with"
        )
    if not all("!" <= character <= "~" for character in token.get_secret_value()):
        raise ConfigurationError(
            f"{variable}_TOKEN holds a space or a character outside ASCII, which no header can carry"
        )
    return ServiceAddress(name, url, token, settings.deadline)


@dataclass(frozen=True)
class Clock:
    """What a client measures and waits by."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class RServiceClient:
    """A connection pool to one R service: `async with RGlmmClient(address) as client`.

    A request that finds the service away or busy (a transport error, 429, 502, 503, 504) is sent again after 5, 10 and
    15 s; nothing else is. What a failure raises:

    - TemporaryError: still away after that; any other 5xx; a fit that ran out of time or memory, was killed or lost.
    - ConfigurationError: the token is refused (401, 403), the body is over the service's limit (413), or the address
      leads elsewhere (3xx).
    - Skip: the service finds too little data for the model (`not_enough_data`).
    - RefusedError: the model could not be fitted to this data (`model_failed`).
    - ServiceError: a defect, such as a field that the service does not accept.
    """

    name: ClassVar[ServiceName]

    def __init__(self, service: ServiceAddress, *, clock: Clock | None = None) -> None:
        if service.name != self.name:
            raise ValueError(f"{type(self).__name__} speaks to r-{self.name}-plumber, not to {service.label}")
        self._service = service
        self._clock = clock or Clock()
        self._http = httpx.AsyncClient(
            base_url=service.url,
            headers={"Authorization": f"Bearer {service.token.get_secret_value()}"},
            timeout=TIMEOUT,
            limits=LIMITS,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._service.url!r})"

    async def _fit(
        self,
        path: str,
        request: Request,
        result: type[ResultT],
        on_progress: Callable[[FitStatus], None] | None = None,
    ) -> ResultT:
        """Start a fit, follow it to its end, and return its result; a cancelled wait cancels the fit.

        The same request finds the fit that an earlier try of the task has started.
        """
        body = request.body()
        key = idempotency_key(self._service.name, path, body)
        # On its own task: a wait that is cancelled while the service accepts the fit learns whom to cancel.
        accepted = asyncio.create_task(self._send("POST", path, body, {"Idempotency-Key": key}))
        try:
            submitted = self._parse(FitStatus, await asyncio.shield(accepted), path)
            if submitted.state not in ("queued", "running"):  # an earlier try's, with what it has found
                submitted = await self._status(path, submitted.job_id)
            ended = await self._follow(path, submitted, on_progress)
        except (asyncio.CancelledError, _OverdueError) as given_up:
            await self._cancel(path, accepted)
            if isinstance(given_up, _OverdueError):
                raise TemporaryError(str(given_up)) from None
            raise
        if ended.state != "succeeded":
            self._raise_for_fit(path, ended)
        return self._parse(result, ended.result, path)

    async def _call(self, path: str, request: Request, result: type[ResultT]) -> ResultT:
        """Ask for what the service computes at once."""
        return self._parse(result, await self._send("POST", path, request.body()), path)

    async def _follow(self, path: str, status: FitStatus, on_progress: Callable[[FitStatus], None] | None) -> FitStatus:
        began, pause = self._clock.now(), FIRST_POLL
        limit = self._limit()
        shown = 0
        with track(f"{self._service.label} {path} (%)", 100) as tracker:
            while status.state in ("queued", "running"):
                if self._clock.now() - began > limit:
                    raise _OverdueError(f"{self._service.label}: {path} did not end within {limit:.0f} s")
                await self._clock.sleep(pause)
                pause = min(pause * POLL_GROWTH, LONGEST_POLL)
                status = await self._status(path, status.job_id)
                progress = status.progress or Progress()
                done = max(shown, int(100 * (progress.fraction or 0.0)))
                tracker.advance(done - shown, f"{status.state} {progress.note or ''}".rstrip())
                shown = done
                if on_progress is not None:
                    on_progress(status)
        return status

    def _limit(self) -> float:
        """Seconds from now that a fit may take."""
        if self._service.deadline is None:
            return LONGEST_FIT
        return max(0.0, (self._service.deadline - MARGIN - datetime.now(UTC)).total_seconds())

    async def _status(self, path: str, job_id: str) -> FitStatus:
        try:
            return self._parse(FitStatus, await self._send("GET", f"/jobs/{job_id}"), path)
        except ServiceError as error:
            if error.code != "not_found":
                raise
            raise TemporaryError(f"{error.service} lost the fit {job_id} of {path}: it was started anew") from error

    async def _cancel(self, path: str, accepted: asyncio.Task[dict[str, Any]]) -> None:
        """Tell the service that nobody waits for a fit any more; what stops this is logged, for the fit ends anyway."""
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                job_id = self._parse(FitStatus, await accepted, path).job_id
                await self._once("DELETE", f"/jobs/{job_id}")
        except (TimeoutError, TemporaryError, ConfigurationError, ServiceError) as error:
            reason = str(error) or f"no answer within {CANCEL_SECONDS:.0f} s"
            logger.warning(
                "%s: %s runs on to its own limit, it could not be cancelled: %s", self._service.label, path, reason
            )
        else:
            logger.info("%s: %s cancelled (%s)", self._service.label, path, job_id)

    async def _send(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(1 + len(RETRY_WAITS)),
            wait=wait_chain(*(wait_fixed(seconds) for seconds in RETRY_WAITS)),
            retry=retry_if_exception_type(_AwayError),
            sleep=self._clock.sleep,
            before_sleep=_log_retry,
            reraise=True,
        )
        try:
            return await retrying(self._once, method, path, body, headers)
        except _AwayError as error:
            raise TemporaryError(str(error)) from error

    async def _once(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Send one request and return the `data` of its answer."""
        headers = dict(headers or {})
        if body is not None:
            headers["Content-Type"] = "application/json"
            if len(body) >= COMPRESS_FROM:
                headers["Content-Encoding"] = "gzip"
                body = await asyncio.to_thread(gzip.compress, body, 6, mtime=0)
        try:
            answer = await self._http.request(method, path, content=body, headers=headers)
        except httpx.TransportError as error:
            raise _AwayError(
                self._service.label, f"{method} {path}", type(error).__name__, str(error) or "no answer"
            ) from error
        if not answer.is_success:
            self._raise_for_answer(f"{method} {path}", answer)
        return self._parse(_Envelope, _json(answer), path).data or {}

    def _raise_for_answer(self, action: str, answer: httpx.Response) -> NoReturn:
        problems = _problems(answer)
        code = problems[0].code if problems else f"HTTP {answer.status_code}"
        detail = "; ".join(problem.detail for problem in problems) or answer.reason_phrase
        error = ServiceError(self._service.label, action, code, detail)
        status = answer.status_code
        if status in AWAY:
            raise _AwayError(self._service.label, action, code, detail)
        if status in (401, 403):
            variable = f"R_{self._service.name.upper()}_TOKEN"
            connection = f"r_{self._service.name}"
            raise ConfigurationError(
                f"{variable} (connection {connection}): {self._service.url} refuses it: {error}"
            ) from error
        if status == 413:
            raise ConfigurationError(f"{error} (at {self._service.url})") from error
        if answer.is_redirect:
            raise ConfigurationError(
                f"{self._service.url} sends to {answer.headers.get('Location')!r}; expected the address of "
                f"{self._service.label} itself"
            ) from error
        if status >= 500:
            raise TemporaryError(str(error)) from error
        raise error

    def _raise_for_fit(self, path: str, ended: FitStatus) -> NoReturn:
        problem = ended.error or ServiceProblem(code=ended.state, detail="the service gave no reason")
        error = ServiceError(self._service.label, path, problem.code, problem.detail)
        match problem.code:
            case "timed_out" | "out_of_memory" | "killed" | "cancelled":
                raise TemporaryError(str(error)) from error
            case "not_enough_data":
                raise Skip(problem.detail, keep_writes=True) from error
            case "model_failed":
                raise RefusedError(str(error)) from error
        raise error

    def _parse(self, model: type[ResultT], data: dict[str, Any] | None, path: str) -> ResultT:
        try:
            return model.model_validate(data)
        except ValidationError as error:
            # Without the values: they are about learners, and this goes to a log.
            wrong = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()[:5]]
            raise ServiceError(
                self._service.label, path, "unexpected_answer", f"{model.__name__}: {'; '.join(wrong)}"
            ) from None


class _OverdueError(Exception):
    """The time in which a fit is of use is over."""


def idempotency_key(name: ServiceName, path: str, body: bytes) -> str:
    """Return what tells a service that a request is the same as an earlier one."""
    return hashlib.sha256(f"{name} {path}\n".encode() + body).hexdigest()


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run asynchronous work from a synchronous job.

    SIGTERM cancels the work first, so that a remote fit ends with its job, and then takes its usual course: the handler
    in place before is called. Raising from a handler in the middle of an event loop would leave that to chance.
    """
    if threading.current_thread() is not threading.main_thread():
        return asyncio.run(work())  # signals reach the main thread only
    terminated = False

    async def cancellable() -> T:
        nonlocal terminated
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def terminate(_signum: int, _frame: FrameType | None) -> None:
            nonlocal terminated
            if not terminated:  # one is enough: do not interrupt the cancellation
                terminated = True
                task.cancel()
                loop.call_soon_threadsafe(lambda: None)  # wakes the loop where it waits for a socket

        previous = signal.signal(signal.SIGTERM, terminate)
        try:
            return await work()
        finally:
            signal.signal(signal.SIGTERM, previous)

    try:
        return asyncio.run(cancellable())
    finally:
        if terminated:
            signal.raise_signal(signal.SIGTERM)


def _log_retry(state: RetryCallState) -> None:
    assert state.outcome is not None
    assert state.next_action is not None
    logger.warning("%s; again in %.0f s", state.outcome.exception(), state.next_action.sleep)


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _problems(answer: httpx.Response) -> list[ServiceProblem]:
    try:
        return _Envelope.model_validate(_json(answer)).errors
    except ValidationError:
        return []  # not the service: a proxy before it

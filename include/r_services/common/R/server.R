#' Serve until told to stop
#'
#' Reads its settings from the environment (see the README). Returns when it has drained: the file named by
#' `DRAIN_FILE` appeared (`exec/graceful` makes it on SIGTERM), and every accepted job was fetched or the deadline came.
#'
#' @param service A [service()].
#' @export
serve <- function(service) {
  settings <- read_settings()
  application <- Application$new(service, settings)
  on.exit(application$stop())
  server <- httpuv::startServer(settings$host, settings$port, application$handlers())
  on.exit(httpuv::stopServer(server), add = TRUE, after = FALSE)
  log_event("started", service = service$name, host = settings$host, port = settings$port)
  repeat {
    httpuv::service(application$pause())
    application$tick()
    if (application$drained()) break
  }
  log_event("stopped", service = service$name)
  invisible()
}

#' A service's HTTP side: the gate, the routes, the loop's work
#' @noRd
Application <- R6::R6Class("Application", # nolint: cyclocomp_linter. The sum over its methods.
  public = list(
    initialize = function(service, settings) {
      private$service <- service
      private$settings <- settings
      private$folder <- tempfile("jobs-")
      dir.create(private$folder, mode = "0700")
      private$metrics <- Metrics$new()
      private$queue <- JobQueue$new(settings, service$package, private$job_ended)
      private$reader <- Reader$new(settings, service$package)
      private$router <- private$routes()
    },

    #' What httpuv calls: onHeaders before a body is received, call after.
    handlers = function() {
      list(
        onHeaders = function(request) private$check(request),
        call = function(request) private$router$call(request)
      )
    },

    #' Milliseconds until the next tick, unless a request comes before: an answer waits for the reader, a job's end for
    #' nobody in particular.
    pause = function() {
      if (private$reader$busy()) return(10)
      if (private$queue$count("running") + private$queue$count("queued") > 0) 50 else 200
    },

    tick = function() {
      now <- Sys.time()
      if (!is.null(private$ticked) && difftime(now, private$ticked, units = "secs") < 0.005) return(invisible())
      private$ticked <- now
      private$reader$tick()
      private$queue$tick()
      if (is.null(private$draining_since) && nzchar(private$settings$drain_file) &&
            file.exists(private$settings$drain_file)) {
        private$draining_since <- now
        log_event("draining", jobs = private$queue$unseen())
      }
    },

    #' Has the service done what it accepted, or run out of time for it?
    drained = function() {
      if (is.null(private$draining_since)) return(FALSE)
      seconds_since <- function(moment) as.numeric(difftime(Sys.time(), moment, units = "secs"))
      if (seconds_since(private$draining_since) > private$settings$drain_seconds) return(TRUE)
      # The last answer needs a moment to leave.
      private$queue$unseen() == 0 && !private$reader$busy() && seconds_since(private$answered) > 1
    },

    stop = function() {
      private$queue$cancel_all("the service stopped")
      private$reader$stop()
      unlink(private$folder, recursive = TRUE)
    }
  ),
  private = list(
    service = NULL,
    settings = NULL,
    folder = NULL,
    metrics = NULL,
    queue = NULL,
    reader = NULL,
    router = NULL,
    methods = list(),
    ticked = NULL,
    draining_since = NULL,
    answered = Sys.time(),

    check = function(request) {
      request$began <- Sys.time()
      request$id <- request_id(request)
      tryCatch(
        {
          check_headers(request, private$settings, !is.null(private$draining_since))
          private$check_early_room(request)
        },
        irtcommon_refusal = function(refusal) private$refused(request, refusal)
      )
    },

    # A full queue is said before a body is sent, unless the request repeats one that was accepted.
    check_early_room = function(request) {
      endpoint <- private$find_endpoint(request)
      if (is.null(endpoint) || endpoint$kind != "fit") return(NULL)
      if (is.null(private$queue$known(endpoint, request$HTTP_IDEMPOTENCY_KEY))) private$queue$check_room()
      NULL
    },

    # An answer in httpuv's form, counted and logged.
    finish = function(request, status, body, headers = list(), type = "application/json") {
      private$answered <- Sys.time()
      path <- private$label(request)
      seconds <- as.numeric(difftime(Sys.time(), request$began, units = "secs"))
      labels <- c(method = request$REQUEST_METHOD, path = path)
      if (!labels[["method"]] %in% c("GET", "POST", "DELETE")) labels[["method"]] <- "other"
      private$metrics$add("r_service_requests_total", c(labels, status = status))
      private$metrics$add("r_service_request_seconds_total", labels, seconds)
      if (!path %in% open_paths || status >= 400) {
        log_event(
          "request", request_id = request$id, method = labels[["method"]], path = path, status = status,
          milliseconds = as.integer(1000 * seconds)
        )
      }
      if (status == 429) headers$`Retry-After` <- "5"
      if (status == 401) headers$`WWW-Authenticate` <- "Bearer"
      headers <- c(list(`Content-Type` = type, `X-Request-Id` = request$id, `Cache-Control` = "no-store"), headers)
      list(status = as.integer(status), headers = headers, body = body)
    },

    json = function(request, status, value, headers = list()) {
      private$finish(request, status, write_json(value), headers)
    },

    refused = function(request, refusal) private$json(request, refusal$status, envelope(errors = refusal$errors)),

    find_endpoint = function(request) {
      Find(
        function(endpoint) endpoint$path == request$PATH_INFO && endpoint$method == request$REQUEST_METHOD,
        private$service$endpoints
      )
    },

    # A request's path as metrics and logs name it: never what a client made up.
    label = function(request) {
      path <- request$PATH_INFO
      if (startsWith(path, "/jobs/")) return("/jobs/{job_id}")
      if (path %in% names(private$methods)) path else "other"
    },

    accept = function(endpoint, request) {
      folder <- file.path(private$folder, new_id())
      dir.create(folder, mode = "0700")
      writeBin(request$rook.input$read(), file.path(folder, "body"))
      reading <- tryCatch(
        private$reader$ask(endpoint, folder, body_encoding(request)),
        irtcommon_refusal = function(refusal) {
          unlink(folder, recursive = TRUE)
          stop(refusal)
        }
      )
      promises::then(reading, function(read) {
        tryCatch(private$settle(endpoint, request, folder, read), irtcommon_refusal = function(refusal) {
          unlink(folder, recursive = TRUE)
          private$refused(request, refusal)
        })
      })
    },

    settle = function(endpoint, request, folder, read) {
      if (!is.null(read$trace)) log_event("defect", request_id = request$id, trace = paste(read$trace, collapse = "\n"))
      if (!is.null(read$errors)) refuse_all(read$status, read$errors)
      if (!is.null(read$answer)) {
        unlink(folder, recursive = TRUE)
        return(private$finish(request, 200, list(file = read$answer, owned = TRUE)))
      }
      job <- private$queue$submit(endpoint, folder, request$HTTP_IDEMPOTENCY_KEY, read$digest)
      log_event("accepted", request_id = request$id, job_id = job$id)
      data <- list(job_id = job$id, state = job$state)
      private$json(request, 202, envelope(data), list(Location = paste0("/jobs/", job$id)))
    },

    find_job = function(id) {
      job <- private$queue$get(id)
      if (is.null(job)) refuse(404, "not_found", "no such job: results are kept for a time, and not over a restart")
      job
    },

    show = function(request, job) {
      job$collected <- !is.null(job$ended)
      if (job$state != "succeeded") return(private$json(request, 200, envelope(private$queue$describe(job))))
      private$finish(request, 200, list(file = file.path(job$folder, "answer.json")))
    },

    show_progress = function(request) {
      id <- sub("^.*[?&]job_id=([0-9a-f]+)(&.*)?$", "\\1", request$QUERY_STRING)
      data <- private$queue$describe(private$find_job(id))
      private$json(request, 200, envelope(data[c("job_id", "state", "progress")]))
    },

    show_ready = function(request) {
      if (!is.null(private$draining_since)) refuse(503, "draining", "the service is stopping")
      if (!private$reader$is_ready() || !isTRUE(private$service$ready())) {
        refuse(503, "not_ready", "the service is starting")
      }
      private$json(request, 200, envelope(list(ready = TRUE)))
    },

    show_metrics = function(request) {
      gauges <- c(
        r_service_jobs_queued = private$queue$count("queued"),
        r_service_jobs_running = private$queue$count("running"),
        r_service_draining = as.numeric(!is.null(private$draining_since))
      )
      private$finish(request, 200, private$metrics$text(gauges), type = "text/plain; version=0.0.4")
    },

    job_ended = function(job) {
      outcome <- if (is.null(job$error)) job$state else job$error$code
      seconds <- if (is.null(job$started)) 0 else as.numeric(difftime(job$ended, job$started, units = "secs"))
      path <- c(path = job$endpoint$path)
      private$metrics$add("r_service_jobs_total", c(path, outcome = outcome))
      private$metrics$add("r_service_job_seconds_total", path, seconds)
      log <- file.path(job$folder, "log")
      printed <- if (outcome %in% c("defect", "killed") && file.exists(log)) {
        paste(utils::tail(readLines(log, warn = FALSE), 30), collapse = "\n")
      }
      log_event(
        "job", job_id = job$id, path = job$endpoint$path, outcome = outcome, detail = job$error$detail,
        seconds = round(seconds, 3), printed = printed
      )
    },

    routes = function() {
      # The server reads no body and knows no cookies: none of plumber's filters is needed.
      router <- plumber::pr(filters = list())
      # Otherwise plumber answers 405 in a form of its own.
      options(plumber.methodNotAllowed = FALSE)
      handle <- function(method, path, handler) {
        private$methods[[path]] <- c(private$methods[[path]], method)
        plumber::pr_handle(router, method, path, private$plumbed(handler))
      }
      lapply(private$service$endpoints, function(endpoint) {
        handle(endpoint$method, endpoint$path, function(request) private$accept(endpoint, request))
        if (endpoint$kind == "fit") handle("GET", progress_path(endpoint), private$show_progress)
      })
      job_of <- function(request) private$find_job(basename(request$PATH_INFO))
      handle("GET", "/jobs/<job_id>", function(request) private$show(request, job_of(request)))
      handle("DELETE", "/jobs/<job_id>", function(request) {
        job <- job_of(request)
        private$queue$cancel(job)
        private$show(request, job)
      })
      handle("GET", "/health", function(request) private$json(request, 200, envelope(list(alive = TRUE))))
      handle("GET", "/ready", private$show_ready)
      handle("GET", "/metrics", private$show_metrics)
      page <- write_json(openapi(private$service))
      handle("GET", "/openapi.json", function(request) private$finish(request, 200, page))
      plumber::pr_set_404(router, private$plumbed(private$lost))
      plumber::pr_set_error(router, function(req, res, err) private$plumbed(private$defect(err))(req, res)$body)
      router
    },

    # A handler of requests as plumber calls it.
    plumbed = function(handler) {
      function(req, res) {
        fill <- function(response) {
          for (part in names(response)) res[[part]] <- response[[part]]
          res
        }
        response <- tryCatch(handler(req), irtcommon_refusal = function(refusal) private$refused(req, refusal))
        if (promises::is.promising(response)) promises::then(response, fill) else fill(response)
      }
    },

    lost = function(request) {
      template <- if (private$label(request) == "/jobs/{job_id}") "/jobs/<job_id>" else request$PATH_INFO
      allowed <- private$methods[[template]]
      if (is.null(allowed)) refuse(404, "not_found", "no such path; see /openapi.json")
      errors <- list(list(code = "method_not_allowed", detail = paste("expected", toString(allowed))))
      private$json(request, 405, envelope(errors = errors), list(Allow = toString(allowed)))
    },

    defect = function(error) {
      function(request) {
        log_event("defect", request_id = request$id, detail = conditionMessage(error))
        refuse(500, "defect", "the service failed; its log names this request's id")
      }
    }
  )
)

# Where a fit's progress can be asked for without its result.
progress_path <- function(endpoint) paste0(endpoint$path, "_progress")

new_id <- function() paste(as.character(openssl::rand_bytes(16)), collapse = "")

request_id <- function(request) {
  given <- request$HTTP_X_REQUEST_ID
  if (!is.null(given) && grepl("^[A-Za-z0-9._-]{1,64}$", given)) given else new_id()
}

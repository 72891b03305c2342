#' One process that reads request bodies, so that the server never parses one
#'
#' A body of a million rows takes seconds to parse and check; its sender waits, /health does not. Direct endpoints
#' compute here too. The process is replaced where a body crashes it, or holds it too long, or fills its memory.
#' @noRd
Reader <- R6::R6Class("Reader", # nolint: cyclocomp_linter. The sum over its methods.
  public = list(
    initialize = function(settings, package = NULL) {
      private$settings <- settings
      private$package <- package
      private$start()
    },

    #' @return A promise of what [read_request()] returns.
    ask = function(endpoint, folder, encoding) {
      if (length(private$waiting) >= 64) refuse(429, "queue_full", "64 requests wait to be read; try again later")
      arguments <- list(endpoint, folder, encoding, private$settings$unpacked_bytes)
      promises::promise(function(resolve, reject) {
        private$waiting <- c(private$waiting, list(list(arguments = arguments, resolve = resolve)))
      })
    },

    is_ready = function() private$started,

    busy = function() !private$started || !is.null(private$current) || length(private$waiting) > 0,

    tick = function() {
      if (private$started && is.null(private$current) && !private$session$is_alive()) {
        # Killed from outside while idle: nobody waits for an answer, and the next request would be written to nobody.
        log_event("reader_ended", exit_status = private$session$get_exit_status())
        private$start()
      }
      if (!private$started || !is.null(private$current)) private$listen()
      if (private$started && is.null(private$current) && length(private$waiting)) private$ask_next()
    },

    stop = function() private$session$kill_tree()
  ),
  private = list(
    settings = NULL,
    package = NULL,
    session = NULL,
    started = FALSE,
    current = NULL,
    waiting = list(),

    start = function() {
      private$started <- FALSE
      options <- callr::r_session_options(env = child_environment(), user_profile = FALSE, supervise = TRUE)
      private$session <- callr::r_session$new(options, wait = FALSE)
    },

    ask_next = function() {
      private$current <- private$waiting[[1]]
      private$waiting <- private$waiting[-1]
      private$current$began <- Sys.time()
      private$current$memory_checked <- private$current$began
      private$session$call(
        function(package, ...) {
          if (!is.null(package)) loadNamespace(package)
          read_request(...)
        },
        c(list(private$package), private$current$arguments),
        package = "irtcommon"
      )
    },

    listen = function() {
      if (private$session$poll_process(0) == "ready") {
        message <- private$session$read()
        if (is.null(message)) return(invisible())
        if (message$code == 201) {
          private$started <- TRUE
        } else if (message$code == 200 && is.null(message$error)) {
          private$resolve(message$result)
        } else if (message$code == 200) {
          errors <- list(list(code = "defect", detail = "the request could not be read"))
          private$resolve(list(status = 500, errors = errors, trace = conditionMessage(message$error)))
        } else if (message$code >= 500) {
          private$restart(400, "unreadable", "the process that read the body ended; is it nested too deeply?")
        }
        return(invisible())
      }
      private$check_limits()
    },

    check_limits = function() {
      now <- Sys.time()
      if (is.null(private$current)) return(invisible())
      if (difftime(now, private$current$began, units = "secs") > private$settings$answer_seconds) {
        detail <- sprintf("no answer within %.0f s", private$settings$answer_seconds)
        return(private$restart(504, "timed_out", detail))
      }
      if (difftime(now, private$current$memory_checked, units = "secs") < memory_interval) return(invisible())
      private$current$memory_checked <- now
      if (tree_memory(private$session$get_pid()) > private$settings$job_memory) {
        detail <- sprintf("reading the body took more than %.0f MB of memory", private$settings$job_memory / 2^20)
        private$restart(413, "body_too_large", detail)
      }
    },

    restart = function(status, code, detail) {
      private$session$kill_tree()
      private$start()
      private$resolve(list(status = status, errors = list(list(code = code, detail = detail))))
    },

    resolve = function(value) {
      resolve <- private$current$resolve
      private$current <- NULL
      if (!is.null(resolve)) resolve(value)
    }
  )
)

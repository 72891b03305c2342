# For one job, where its endpoint is particular about them.
processes_at_most <- 20

#' Jobs: a bounded queue, each job in a process of its own (or several, until one suits its endpoint)
#'
#' The server calls `tick()` many times a second; nothing here waits.
#' @noRd
JobQueue <- R6::R6Class("JobQueue", # nolint: cyclocomp_linter. The sum over its methods.
  public = list(
    #' @param settings Of [read_settings()]. @param package See [service()].
    #' @param report `function(job)`, called when a job has ended.
    initialize = function(settings, package = NULL, report = function(job) invisible()) {
      private$settings <- settings
      private$package <- package
      private$report <- report
    },

    #' The job of a checked request: a new one, or that of an earlier request with the same idempotency key, unless
    #' that one failed or was cancelled. Refuses where the queue is full or the key belongs to another body.
    submit = function(endpoint, folder, key = NULL, digest = "") {
      known <- self$known(endpoint, key)
      if (!is.null(known)) {
        if (known$digest != digest) {
          refuse(422, "idempotency_conflict", "Idempotency-Key: was used with another body")
        }
        unlink(folder, recursive = TRUE)
        return(known)
      }
      self$check_room()
      job <- new.env(parent = emptyenv())
      job$id <- basename(folder)
      job$endpoint <- endpoint
      job$key <- key
      job$digest <- digest
      job$folder <- folder
      job$state <- "queued"
      job$processes <- 0
      job$collected <- FALSE
      private$jobs[[job$id]] <- job
      job
    },

    #' The job that a repeated request gets, or NULL.
    known = function(endpoint, key) {
      if (is.null(key)) return(NULL)
      same <- function(job) {
        identical(job$key, key) && job$endpoint$path == endpoint$path && !job$state %in% c("failed", "cancelled")
      }
      Find(same, private$jobs)
    },

    check_room = function() {
      if (self$count("queued") >= private$settings$queue_length) {
        refuse(429, "queue_full", sprintf("%d jobs wait already; try again later", self$count("queued")))
      }
    },

    get = function(id) private$jobs[[id]],

    count = function(state) sum(vapply(private$jobs, function(job) job$state == state, NA)),

    #' Jobs that have not ended, or whose end no client has seen.
    unseen = function() sum(vapply(private$jobs, function(job) !job$collected, NA)),

    #' What GET /jobs/{id} answers where the job has not succeeded; a success is in its answer file.
    describe = function(job) {
      seconds <- if (!is.null(job$started)) {
        as.numeric(difftime(if (is.null(job$ended)) Sys.time() else job$ended, job$started, units = "secs"))
      }
      job_data(job$id, job$state, self$progress(job), error = job$error, seconds = seconds)
    },

    progress = function(job) {
      path <- file.path(job$folder, "progress.json")
      if (job$state == "succeeded") return(list(fraction = 1, note = ""))
      if (!file.exists(path)) return(list(fraction = NA_real_, note = ""))
      jsonlite::fromJSON(path)
    },

    cancel = function(job, detail = "cancelled by the client") {
      if (job$state %in% c("queued", "running")) private$end(job, "cancelled", "cancelled", detail)
    },

    cancel_all = function(detail) for (job in private$jobs) self$cancel(job, detail),

    tick = function() {
      for (job in private$in_state("running")) private$watch(job)
      waiting <- private$in_state("queued")
      for (job in utils::head(waiting, max(0, private$settings$workers - self$count("running")))) private$start(job)
      private$forget()
    }
  ),
  private = list(
    settings = NULL,
    package = NULL,
    report = NULL,
    jobs = list(),

    in_state = function(state) Filter(function(job) job$state == state, private$jobs),

    start = function(job) {
      job$state <- "running"
      job$started <- Sys.time()
      private$start_process(job)
    },

    start_process = function(job) {
      job$processes <- job$processes + 1
      job$memory_checked <- Sys.time()
      job$process <- callr::r_bg(
        function(...) run_job(...),
        list(
          job$endpoint, job$id, job$folder, private$package,
          began = job$started, must = job$processes >= processes_at_most
        ),
        package = "irtcommon",
        stdout = file.path(job$folder, "log"),
        stderr = "2>&1",
        env = child_environment(),
        user_profile = FALSE,
        # Ends the job where the server itself is killed.
        supervise = TRUE
      )
    },

    watch = function(job) {
      if (!job$process$is_alive()) return(private$finish(job))
      now <- Sys.time()
      if (difftime(now, job$started, units = "secs") > private$settings$job_seconds) {
        detail <- sprintf("the job ran longer than its %.0f s", private$settings$job_seconds)
        return(private$end(job, "failed", "timed_out", detail))
      }
      if (difftime(now, job$memory_checked, units = "secs") < memory_interval) return(invisible())
      job$memory_checked <- now
      if (tree_memory(job$process$get_pid()) > private$settings$job_memory) {
        detail <- sprintf("the job held more than its %.0f MB of memory", private$settings$job_memory / 2^20)
        private$end(job, "failed", "out_of_memory", detail)
      }
    },

    finish = function(job) {
      outcome <- tryCatch(job$process$get_result(), error = function(error) {
        status <- job$process$get_exit_status()
        detail <- sprintf("the job's process ended by itself (exit status %s): %s", status, first_line(error))
        list(error = list(code = "killed", detail = detail))
      })
      if (isTRUE(outcome$unsuited)) return(private$start_process(job))
      error <- outcome$error
      private$end(job, if (is.null(error)) "succeeded" else "failed", error$code, error$detail)
    },

    end = function(job, state, code = NULL, detail = NULL) {
      if (!is.null(job$process)) job$process$kill_tree()
      job$process <- NULL
      job$state <- state
      job$error <- if (!is.null(code)) list(code = code, detail = detail)
      job$ended <- Sys.time()
      unlink(file.path(job$folder, c("body", "input.rds")))
      private$report(job)
    },

    # Ended jobs are kept for a time, and so many of them.
    forget = function() {
      ended <- Filter(function(job) !is.null(job$ended), private$jobs)
      age <- vapply(ended, function(job) as.numeric(difftime(Sys.time(), job$ended, units = "secs")), 0)
      old <- age > private$settings$result_seconds | rank(age) > private$settings$result_count
      for (job in ended[old]) {
        unlink(job$folder, recursive = TRUE)
        private$jobs[[job$id]] <- NULL
      }
    }
  )
)

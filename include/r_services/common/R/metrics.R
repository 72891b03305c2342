#' Counters in Prometheus' text format (version 0.0.4)
#' @noRd
Metrics <- R6::R6Class("Metrics",
  public = list(
    #' @param labels Named character vector. Label values come from the service itself, never from a request.
    add = function(name, labels, amount = 1) {
      key <- paste0(name, "{", paste0(names(labels), "=\"", labels, "\"", collapse = ","), "}")
      private$values[[key]] <- amount + if (is.null(private$values[[key]])) 0 else private$values[[key]]
    },

    #' @param gauges Named numbers of this moment.
    text = function(gauges) {
      lines <- character()
      for (name in names(private$help)) {
        keys <- sort(grep(paste0("^", name, "\\{"), names(private$values), value = TRUE))
        values <- vapply(keys, function(key) sprintf("%s %.17g", key, private$values[[key]]), "")
        lines <- c(lines, private$header(name, private$help[[name]], "counter"), values)
      }
      for (name in names(gauges)) {
        lines <- c(lines, private$header(name, private$gauge_help[[name]], "gauge"), paste(name, gauges[[name]]))
      }
      paste0(paste(lines, collapse = "\n"), "\n")
    }
  ),
  private = list(
    values = list(),
    help = c(
      r_service_requests_total = "Requests answered, by endpoint and status.",
      r_service_request_seconds_total = "Time from a request's headers to its answer, by endpoint.",
      r_service_jobs_total = "Jobs ended, by endpoint and outcome (succeeded, or the error's code).",
      r_service_job_seconds_total = "Time that ended jobs ran, by endpoint."
    ),
    gauge_help = c(
      r_service_jobs_queued = "Jobs that wait.",
      r_service_jobs_running = "Jobs that run.",
      r_service_draining = "1 while the service is stopping."
    ),
    header = function(name, help, type) c(paste("# HELP", name, help), paste("# TYPE", name, type))
  )
)

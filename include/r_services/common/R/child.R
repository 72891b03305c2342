# What runs in the processes beside the server: jobs, and the reader. Each gets a job's folder:
#     body            the request as received        input.rds     its checked fields
#     progress.json   how far the job is             answer.json   the whole answer to GET /jobs/{id}
#     log             what the job printed

#' Compute a job (in its own process)
#'
#' @param began When the job's first process was started.
#' @param must Whether to compute it even in a process that does not suit the endpoint.
#' @return `list(error)`: `NULL`, or `list(code, detail)`; `list(unsuited = TRUE)` where nothing was computed.
#' @noRd
run_job <- function(endpoint, job_id, folder, package, began, must) {
  tools::psnice(value = 15L)
  # Where the machine runs out of memory the kernel should end this process, not the server.
  adjustment <- "/proc/self/oom_score_adj"
  if (file.exists(adjustment)) writeLines("1000", adjustment)
  if (!is.null(package)) loadNamespace(package)
  input <- readRDS(file.path(folder, "input.rds"))
  run <- function(input, progress) {
    if (must || endpoint$suits()) endpoint$run(input, progress) else list(unsuited = TRUE)
  }
  computed <- compute(run, input, progress_writer(folder))
  if (isTRUE(computed$result$unsuited)) {
    return(list(unsuited = TRUE))
  }
  if (is.null(computed$error)) {
    seconds <- as.numeric(Sys.time() - began, units = "secs")
    computed <- compute_answer(job_id, computed$result, seconds, file.path(folder, "answer.json"))
  }
  if (identical(computed$error$code, "defect")) message(paste(computed$trace, collapse = "\n"))
  list(error = computed$error)
}

compute_answer <- function(job_id, result, seconds, path) {
  progress <- list(fraction = 1, note = "")
  tryCatch(
    {
      data <- job_data(job_id, "succeeded", progress, result = result, seconds = seconds)
      writeLines(write_json(envelope(data)), path, useBytes = TRUE)
      list()
    },
    error = function(error) list(error = list(code = "defect", detail = conditionMessage(error)))
  )
}

job_data <- function(job_id, state, progress, result = NULL, error = NULL, seconds = NULL) {
  list(job_id = job_id, state = state, progress = progress, result = result, error = error, seconds = seconds)
}

progress_writer <- function(folder) {
  path <- file.path(folder, "progress.json")
  function(fraction = NA, note = "") {
    draft <- paste0(path, ".draft")
    writeLines(write_json(list(fraction = as.numeric(fraction), note = note), "progress"), draft, useBytes = TRUE)
    file.rename(draft, path)
    invisible()
  }
}

#' Read and check a request's body; compute it where its endpoint is direct (in the reader's process)
#'
#' @return `list(digest)` of the unpacked body, `list(status, errors)` of a refusal, or `list(answer)`, the
#'   file that a direct endpoint's answer is in.
#' @noRd
read_request <- function(endpoint, folder, encoding, limit) {
  tryCatch(
    {
      text <- read_body(file.path(folder, "body"), encoding, limit)
      input <- check_body(endpoint$fields, text)
      if (endpoint$kind == "fit") {
        saveRDS(input, file.path(folder, "input.rds"), compress = FALSE)
        return(list(digest = as.character(openssl::sha256(text))))
      }
      answer_directly(endpoint, input, paste0(folder, ".json"))
    },
    irtcommon_refusal = function(refusal) list(status = refusal$status, errors = refusal$errors)
  )
}

answer_directly <- function(endpoint, input, path) {
  computed <- compute(endpoint$run, input, function(fraction = NA, note = "") invisible())
  if (!is.null(computed$error)) {
    defect <- computed$error$code %in% c("defect", "out_of_memory")
    return(list(status = if (defect) 500 else 422, errors = list(computed$error), trace = computed$trace))
  }
  writeLines(write_json(envelope(computed$result)), path, useBytes = TRUE)
  list(answer = path)
}

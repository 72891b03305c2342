# A small service for the tests of what all services share: a least-squares line, and ways for a job to go wrong.
library(irtcommon)

columns <- list(
  field("x", "number", list = TRUE, group = "points", doc = "Where."),
  field("y", "number", list = TRUE, nullable = TRUE, group = "points", doc = "What was seen there.")
)

fit_line <- function(input, progress) {
  seen <- !is.na(input$y)
  if (sum(seen) < 2) irtcommon::fail("not_enough_data", sprintf("%d points; a line needs 2", sum(seen)))
  progress(0.5, "solving")
  line <- stats::lm.fit(cbind(1, input$x[seen]), input$y[seen])
  if (any(!seen)) warning(sum(!seen), " points without y were left out")
  list(intercept = line$coefficients[[1]], slope = line$coefficients[[2]], n = sum(seen))
}

check_points <- function(input, progress) list(x = I(input$x), y = I(input$y))

echo <- function(input, progress) {
  if (!is.null(input$reals)) input$reals <- I(input$reals)
  input
}

sleep <- function(input, progress) {
  began <- Sys.time()
  child <- processx::process$new("sleep", "600")
  while (difftime(Sys.time(), began, units = "secs") < input$seconds) {
    progress(min(1, as.numeric(difftime(Sys.time(), began, units = "secs")) / input$seconds), "asleep")
    Sys.sleep(0.05)
  }
  child$kill()
  list(slept = input$seconds, helper = child$get_pid())
}

# Works as hard as a fit does, without a pause for other processes.
spin <- function(input, progress) {
  began <- Sys.time()
  rounds <- 0L
  while (difftime(Sys.time(), began, units = "secs") < input$seconds) {
    solve(crossprod(matrix(stats::rnorm(40000), 200)))
    rounds <- rounds + 1L
  }
  list(rounds = rounds)
}

fill_memory <- function(input, progress) {
  held <- list()
  repeat held[[length(held) + 1]] <- rep(1, 2^22)
}

die <- function(input, progress) tools::pskill(Sys.getpid(), tools::SIGKILL)

break_down <- function(input, progress) {
  if (input$how == "infinite") return(list(value = 1 / 0))
  solve_nothing <- function() stop("a defect of this model")
  solve_nothing()
}

seconds <- list(field("seconds", "number", min = 0, max = 600))

line_service <- service("r-line-plumber", list(
  endpoint("POST", "/line/fit", fit_line, columns, doc = "A least-squares line."),
  endpoint("POST", "/line/check", check_points, columns, kind = "direct", doc = "The points, as they were understood."),
  endpoint("POST", "/echo", echo, list(
    field("text", "string", required = FALSE, max_length = 20),
    field("whole", "integer", required = FALSE),
    field("real", "number", required = FALSE, nullable = TRUE, min = -1e300),
    field("flag", "boolean", required = FALSE),
    field("choice", "enum", required = FALSE, values = c("one", "two")),
    field("texts", "string", list = TRUE, required = FALSE),
    field("reals", "number", list = TRUE, required = FALSE, nullable = TRUE, min_length = 0)
  ), kind = "direct", doc = "Each type of field, returned."),
  endpoint("POST", "/sleep/fit", sleep, seconds, doc = "A job that waits, with a process of its own."),
  endpoint("POST", "/spin/fit", spin, seconds, doc = "A job that keeps a core busy."),
  endpoint("POST", "/memory/fit", fill_memory, doc = "A job that takes all the memory it can."),
  endpoint("POST", "/die/fit", die, doc = "A job whose process is killed."),
  endpoint("POST", "/break/fit", break_down, list(field("how", "enum", values = c("error", "infinite"))),
    doc = "A job with a defect."
  )
))

serve(line_service)

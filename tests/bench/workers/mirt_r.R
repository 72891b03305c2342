# R mirt. Arguments: data output n_students n_items points tolerance threads library
arguments <- commandArgs(trailingOnly = TRUE)
data <- arguments[[1]]
output <- arguments[[2]]
n_students <- as.integer(arguments[[3]])
n_items <- as.integer(arguments[[4]])
points <- as.integer(arguments[[5]])
tolerance <- as.numeric(arguments[[6]])
threads <- as.integer(arguments[[7]])
.libPaths(c(arguments[[8]], .libPaths()))
suppressPackageStartupMessages(library(mirt))

n_responses <- file.size(file.path(data, "correct.u8"))
read <- function(name, size) {
  readBin(file.path(data, name), "integer", n_responses, size = size, signed = size > 2, endian = "little")
}
responses <- matrix(NA_integer_, n_students, n_items, dimnames = list(NULL, paste0("item", seq_len(n_items))))
responses[cbind(read("student.i32", 4) + 1L, read("item.u16", 2) + 1L)] <- read("correct.u8", 1)

mirtCluster(NULL, omp_threads = threads)
fit <- function(...) {
  mirt(responses, 1, itemtype = "2PL", quadpts = points, TOL = tolerance, verbose = FALSE, ...)
}

# R compiles a function to byte code on its second call; three EM cycles call all of them.
invisible(suppressMessages(suppressWarnings(fit(technical = list(NCYCLES = 3)))))
invisible(gc())
times <- system.time(model <- fit())

estimates <- coef(model, IRTpars = TRUE, simplify = TRUE)$items[, c("a", "b")]
write.csv(format(estimates, digits = 17), file.path(output, "items.csv"), row.names = FALSE, quote = FALSE)
status <- readLines("/proc/self/status")
peak_kb <- as.numeric(gsub("[^0-9]", "", grep("^VmHWM", status, value = TRUE)))
time <- extract.mirt(model, "time")
figures <- c(
  version = sprintf("\"%s\"", packageVersion("mirt")),
  seconds = times[["elapsed"]],
  cpu_seconds = times[["user.self"]] + times[["sys.self"]],
  em_seconds = time[["Estep"]] + time[["Mstep"]],
  iterations = extract.mirt(model, "iterations"),
  converged = tolower(extract.mirt(model, "converged")),
  own_log_likelihood = format(extract.mirt(model, "logLik"), digits = 15),
  peak_mb = peak_kb / 1024
)
writeLines(
  sprintf("{%s}", paste(sprintf("\"%s\": %s", names(figures), figures), collapse = ", ")),
  file.path(output, "figures.json")
)

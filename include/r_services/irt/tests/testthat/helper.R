lsat7 <- mirt::expand.table(mirt::LSAT7)

# A table of responses, items in columns, as the service takes it.
as_long <- function(table) {
  table <- as.matrix(table)
  long <- data.frame(
    learner = sprintf("p%04d", rep(seq_len(nrow(table)), ncol(table))), item = rep(colnames(table), each = nrow(table)),
    correct = as.vector(table) == 1
  )
  long[!is.na(long$correct), ]
}

# Post LSAT7 with options to the endpoint.
ask <- function(...) {
  long <- as_long(lsat7)
  body <- c(as.list(long), lapply(list(...), function(value) if (length(value) == 1) jsonlite::unbox(value) else value))
  irtcommon::answer(endpoints()[[1]], as.character(jsonlite::toJSON(body, digits = NA)))
}

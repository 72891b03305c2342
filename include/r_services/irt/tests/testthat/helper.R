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

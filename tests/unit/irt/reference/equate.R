# Chains of links and their averages by R equateIRT 2.5.1, for five forms that overlap by four items. Run in this
# folder:
#   Rscript equate.R
# The covariance of a form's estimates (all b, then all a) is s_k s_l 0.5^|k - l|, s_k = 0.03 + 0.01 (k mod 5), k from
# 0.
library(equateIRT)

set.seed(4)
n <- 10
starts <- c(0, 6, 12, 18, 24)
items <- lapply(1:5, function(f) {
  # The last form closes the ring: it has items of the fourth and of the first.
  if (f < 5) paste0("i", starts[f] + 1:n) else c(paste0("i", 24 + 1:n)[1:6], paste0("i", 1:4))
})
b <- setNames(rnorm(40), paste0("i", 1:40))
a <- setNames(exp(rnorm(40, 0, 0.3)), paste0("i", 1:40))
A <- c(1, 1.15, 0.9, 1.05, 1.2)
B <- c(0, 0.3, -0.2, 0.4, 0.1)
coefs <- lapply(1:5, function(f) {
  own <- items[[f]]
  cbind(
    b = (b[own] - B[f]) / A[f] + rnorm(n, 0, 0.08),
    a = a[own] * A[f] * exp(rnorm(n, 0, 0.06))
  )
})
s <- 0.03 + 0.01 * ((0:(2 * n - 1)) %% 5)
covariance <- outer(s, s) * 0.5^abs(outer(1:(2 * n), 1:(2 * n), "-"))
forms <- paste0("f", 1:5)
mods <- modIRT(
  coef = coefs, var = rep(list(covariance), 5), names = forms, ltparam = FALSE, lparam = FALSE, display = FALSE
)

paths <- list(c("f1", "f2", "f3", "f4"), c("f1", "f5", "f4"))
rows <- NULL
for (method in c("mean-mean", "mean-sigma", "Haebara", "Stocking-Lord")) {
  direct <- alldirec(mods = mods, method = method)
  chains <- lapply(paths, function(path) chainec(direclist = direct, pths = path))
  average <- bisectorec(ecall = c(chains[[1]], chains[[2]]), weighted = FALSE, unweighted = TRUE)$coef
  rows <- rbind(rows, cbind(method = sub("-", "_", tolower(method)), average[, c("path", "A", "B", "seA", "seB")]))
}
write.csv(
  do.call(rbind, lapply(1:5, function(f) data.frame(form = forms[f], item_id = items[[f]], coefs[[f]]))),
  "equate_items.csv",
  row.names = FALSE, quote = FALSE
)
write.csv(rows, "equate_links.csv", row.names = FALSE, quote = FALSE)

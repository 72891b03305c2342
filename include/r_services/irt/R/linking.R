#' The line that puts a calibration on a reference scale
#'
#' Stocking and Lord (1983): A and B minimise the squared difference of the two test characteristic curves of the items
#' in common, theta on the reference scale being A theta + B. The symmetric criterion adds that on the new scale and
#' weighs both with 30 points of N(0, 1); the other takes 40 equally spaced points on [-4, 4] of the reference scale.
#'
#' @param items,reference data.frames: `item`, `a`, `b`, `c`.
#' @param symmetric Both directions?
#' @param exclusions A list of the items that were not calibrated: `all_right`, `all_wrong`.
#' @return A list: `A`, `B`, `method`, `symmetric`, `n_anchors_used`, `dropped` (`item`, `reason`: the reference's items
#'   that are no anchors). Where every `a` is 1 on both scales, A is 1.
#' @export
stocking_lord <- function(items, reference, symmetric = TRUE, exclusions = list()) {
  anchors <- intersect(items$item, reference$item)
  if (length(anchors) < 2) {
    irtcommon::fail("not_enough_data", sprintf(
      "%d items in common with the reference; a link needs 2", length(anchors)
    ))
  }
  new <- items[match(anchors, items$item), ]
  old <- reference[match(anchors, reference$item), ]
  grid <- if (symmetric) hermite(30) else list(points = seq(-4, 4, length.out = 40), weights = rep(1 / 40, 40))
  curve <- function(theta, a, b, c) {
    sum(c) + as.vector(stats::plogis(outer(theta, b, "-") * rep(a, each = length(theta))) %*% (1 - c))
  }
  on_reference <- curve(grid$points, old$a, old$b, old$c)
  on_new <- curve(grid$points, new$a, new$b, new$c)
  criterion <- function(slope, intercept) {
    forward <- curve(grid$points, new$a / slope, slope * new$b + intercept, new$c) - on_reference
    backward <- if (symmetric) curve(grid$points, old$a * slope, (old$b - intercept) / slope, old$c) - on_new else 0
    sum(grid$weights * (forward^2 + backward^2))
  }
  start <- mean_sigma(new$b, old$b)
  if (all(new$a == 1, old$a == 1)) {
    shift <- mean(old$b) - mean(new$b)
    found <- list(par = c(0, stats::nlm(function(b) criterion(1, b), shift, gradtol = 1e-10, steptol = 1e-12)$estimate))
  } else {
    found <- stats::optim(start, function(line) criterion(exp(line[[1]]), line[[2]]),
      method = "BFGS", control = list(reltol = 1e-15, maxit = 1000)
    )
  }
  list(
    A = exp(found$par[[1]]), B = found$par[[2]], method = "stocking_lord", symmetric = symmetric,
    n_anchors_used = length(anchors), dropped = not_anchors(setdiff(reference$item, anchors), exclusions)
  )
}

not_anchors <- function(items, exclusions) {
  reason <- rep("no response", length(items))
  reason[items %in% exclusions$all_right] <- "every response is right"
  reason[items %in% exclusions$all_wrong] <- "every response is wrong"
  data.frame(item = items, reason = reason)
}

# log A and B by the moments of the difficulties: where the search starts.
mean_sigma <- function(new, old) {
  slope <- stats::sd(old) / stats::sd(new)
  if (!is.finite(slope) || slope == 0) slope <- 1
  c(log(slope), mean(old) - slope * mean(new))
}

# Gauss-Hermite points and weights of N(0, 1) (Golub and Welsch, 1969).
hermite <- function(n) {
  jacobi <- matrix(0, n, n)
  jacobi[cbind(1:(n - 1), 2:n)] <- sqrt(1:(n - 1))
  found <- eigen(jacobi + t(jacobi), symmetric = TRUE)
  list(points = found$values, weights = found$vectors[1, ]^2)
}

-- One row a learner and landmark with enough items tried again: R_t of the 28 days that end with the landmark.
create temporary table survival_resolution (
    learner int not null,
    landmark date not null,
    r_t float8 not null
) on commit drop

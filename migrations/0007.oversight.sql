-- What an oversight council asks: how many appeals, where, how long, with which end. Filled by
-- src/projections/oversight_fold.py; what counts where stands in src/projections/oversight.py. See 0003 for what
-- holds for every projection.

SET LOCAL ROLE aiqyn_service;

-- --- one row for each stay of an appeal with a body -----------------------------------------------------------

CREATE TABLE projections.oversight_appeals (
    stream                    text    COLLATE "C" NOT NULL,
    stay                      int     NOT NULL CHECK (stay >= 1),  -- 1, and one more each time it is forwarded
    body                      text    COLLATE "C" NOT NULL,
    registered_on             date    NOT NULL,                    -- with this body, the last time
    month                     text    COLLATE "C" NOT NULL,        -- of that day, YYYY-MM
    kind                      text    COLLATE "C" NOT NULL,
    category                  text    COLLATE "C" NOT NULL,
    region                    text    COLLATE "C" NOT NULL,        -- two digits of ISO 3166-2:KZ, or unknown
    channel                   text    COLLATE "C" NOT NULL,
    origin                    text    COLLATE "C" NOT NULL CHECK (origin IN ('filed', 'split', 'imported')),
    status                    text    COLLATE "C" NOT NULL CHECK (status IN (
        'open', 'returned', 'withdrawn', 'lapsed', 'closed', 'answered', 'forwarded')),
    forwards                  int     NOT NULL CHECK (forwards >= 0),  -- of the appeal, up to this stay
    over_twice                boolean NOT NULL,
    forwarded_late            boolean NOT NULL,
    extended                  boolean NOT NULL,
    deemed                    boolean NOT NULL,
    reopened                  boolean NOT NULL,
    due                       timestamptz,                         -- of an imported appeal, as far as it is known
    was_late                  boolean NOT NULL,                    -- some answer of this stay came late
    answered_on               date,
    days                      int     CHECK (days >= 0),           -- from registration to the answer
    timing                    text    COLLATE "C" CHECK (timing IN ('in-time', 'late', 'unknown')),
    outcome                   text    COLLATE "C" CHECK (outcome IN (
        'explained', 'satisfied', 'refused', 'noted', 'terminated', 'unknown')),
    hearings                  int     NOT NULL CHECK (hearings >= 0),
    hearings_unattended       int     NOT NULL CHECK (hearings_unattended BETWEEN 0 AND hearings),
    complaints                int     NOT NULL CHECK (complaints >= 0),
    complaints_about_silence  int     NOT NULL CHECK (complaints_about_silence BETWEEN 0 AND complaints),
    complaints_pending        int     NOT NULL CHECK (complaints_pending >= 0),
    complaints_satisfied      int     NOT NULL CHECK (complaints_satisfied >= 0),  -- by the body itself
    cancelled                 int     NOT NULL CHECK (cancelled >= 0),             -- by the higher body, as the next ones
    cancelled_anew            int     NOT NULL CHECK (cancelled_anew >= 0),
    obliged                   int     NOT NULL CHECK (obliged >= 0),
    dismissed                 int     NOT NULL CHECK (dismissed >= 0),
    left_unconsidered         int     NOT NULL CHECK (left_unconsidered >= 0),
    remitted                  int     NOT NULL CHECK (remitted >= 0),
    upheld                    int     NOT NULL CHECK (upheld >= 0),
    complaints_unknown        int     NOT NULL CHECK (complaints_unknown >= 0),    -- decided, nobody says how
    position                  bigint  NOT NULL CHECK (position >= 0),  -- of the last event that changed this row
    PRIMARY KEY (stream, stay),
    CHECK (month = to_char(registered_on, 'YYYY-MM')),
    CHECK ((status = 'answered') = (answered_on IS NOT NULL)),
    CHECK ((status = 'answered') = (days IS NOT NULL)),
    CHECK ((status = 'answered') = (timing IS NOT NULL)),
    CHECK ((status = 'answered') = (outcome IS NOT NULL)),
    CHECK (status = 'forwarded' OR NOT forwarded_late),
    CHECK (status <> 'forwarded' OR NOT over_twice),
    CHECK (complaints = complaints_pending + complaints_satisfied + cancelled + cancelled_anew + obliged + dismissed
        + left_unconsidered + remitted + upheld + complaints_unknown)
);
CREATE INDEX oversight_appeals_of_body ON projections.oversight_appeals (body, month);
CREATE INDEX oversight_appeals_changed ON projections.oversight_appeals (position);

-- --- the figures ----------------------------------------------------------------------------------------------

-- For each period (a month, YYYY-MM, or a year, YYYY): of every body (dimension and value empty), of every value
-- of a dimension (body empty), of every value of a dimension with every body (years only), and of all (all three
-- empty). A cell without appeals has no row.
CREATE TABLE projections.oversight_cells (
    period                    text    COLLATE "C" NOT NULL CHECK (period ~ '^\d{4}(-\d{2})?$'),
    dimension                 text    COLLATE "C" NOT NULL CHECK (dimension IN (
        '', 'kind', 'category', 'region', 'channel', 'origin')),
    value                     text    COLLATE "C" NOT NULL,
    body                      text    COLLATE "C" NOT NULL,
    received                  int     NOT NULL CHECK (received >= 1),
    forwarded_away            int     NOT NULL CHECK (forwarded_away BETWEEN 0 AND received),
    forwarded_late            int     NOT NULL CHECK (forwarded_late BETWEEN 0 AND forwarded_away),
    appeals                   int     NOT NULL CHECK (appeals = received - forwarded_away),
    unanswered                int     NOT NULL CHECK (unanswered >= 0),
    open                      int     NOT NULL CHECK (open >= 0),
    returned                  int     NOT NULL CHECK (returned >= 0),
    withdrawn                 int     NOT NULL CHECK (withdrawn >= 0),
    lapsed                    int     NOT NULL CHECK (lapsed >= 0),
    closed                    int     NOT NULL CHECK (closed >= 0),
    answered                  int     NOT NULL CHECK (answered = appeals - unanswered),
    in_time                   int     NOT NULL CHECK (in_time >= 0),
    late                      int     NOT NULL CHECK (late >= 0),
    term_unknown              int     NOT NULL CHECK (term_unknown >= 0),
    explained                 int     NOT NULL CHECK (explained >= 0),
    satisfied                 int     NOT NULL CHECK (satisfied >= 0),
    refused                   int     NOT NULL CHECK (refused >= 0),
    noted                     int     NOT NULL CHECK (noted >= 0),
    terminated                int     NOT NULL CHECK (terminated >= 0),
    outcome_unknown           int     NOT NULL CHECK (outcome_unknown >= 0),
    extended                  int     NOT NULL CHECK (extended BETWEEN 0 AND received),
    deemed_refusals           int     NOT NULL CHECK (deemed_refusals BETWEEN 0 AND received),
    forwarded_over_twice      int     NOT NULL CHECK (forwarded_over_twice BETWEEN 0 AND appeals),
    reopened                  int     NOT NULL CHECK (reopened BETWEEN 0 AND received),
    hearings                  int     NOT NULL CHECK (hearings >= 0),
    hearings_unattended       int     NOT NULL CHECK (hearings_unattended BETWEEN 0 AND hearings),
    complaints                int     NOT NULL CHECK (complaints >= 0),
    complaints_about_silence  int     NOT NULL CHECK (complaints_about_silence BETWEEN 0 AND complaints),
    complaints_pending        int     NOT NULL CHECK (complaints_pending >= 0),
    complaints_satisfied      int     NOT NULL CHECK (complaints_satisfied >= 0),
    cancelled                 int     NOT NULL CHECK (cancelled >= 0),
    cancelled_anew            int     NOT NULL CHECK (cancelled_anew >= 0),
    obliged                   int     NOT NULL CHECK (obliged >= 0),
    dismissed                 int     NOT NULL CHECK (dismissed >= 0),
    left_unconsidered         int     NOT NULL CHECK (left_unconsidered >= 0),
    remitted                  int     NOT NULL CHECK (remitted >= 0),
    upheld                    int     NOT NULL CHECK (upheld >= 0),
    complaints_unknown        int     NOT NULL CHECK (complaints_unknown >= 0),
    -- nearest-rank, in calendar days; NULL where nothing is answered, or no histogram is kept
    median_days               int     CHECK (median_days >= 0),
    p90_days                  int     CHECK (p90_days >= median_days),
    PRIMARY KEY (period, dimension, value, body),
    CHECK ((dimension = '') = (value = '')),
    CHECK (dimension = '' OR body = '' OR length(period) = 4),
    CHECK (unanswered = open + returned + withdrawn + lapsed + closed),
    CHECK (answered = in_time + late + term_unknown),
    CHECK (answered = explained + satisfied + refused + noted + terminated + outcome_unknown),
    CHECK (complaints = complaints_pending + complaints_satisfied + cancelled + cancelled_anew + obliged + dismissed
        + left_unconsidered + remitted + upheld + complaints_unknown)
) WITH (fillfactor = 80);
CREATE INDEX oversight_cells_of_all ON projections.oversight_cells (period, dimension, value) WHERE body = '';

-- How many answers took so many days: for the cells of a body, and for those of all bodies.
CREATE TABLE projections.oversight_days (
    period     text  COLLATE "C" NOT NULL,
    dimension  text  COLLATE "C" NOT NULL,
    value      text  COLLATE "C" NOT NULL,
    body       text  COLLATE "C" NOT NULL,
    days       int   NOT NULL CHECK (days >= 0),
    count      int   NOT NULL CHECK (count >= 1),
    PRIMARY KEY (period, dimension, value, body, days),
    CHECK (dimension = '' OR body = '')
) WITH (fillfactor = 80);

RESET ROLE;

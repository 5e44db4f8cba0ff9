-- What a body may do again and again, or leave undone, beside the answer itself: returns for fixing, and terms of a
-- complaint that passed. Rebuild the projection "oversight" afterwards where there are appeals already.

SET LOCAL ROLE aiqyn_service;

ALTER TABLE projections.oversight_appeals
    ADD COLUMN returns            int NOT NULL DEFAULT 0 CHECK (returns >= 0),
    ADD COLUMN complaints_overdue int NOT NULL DEFAULT 0 CHECK (complaints_overdue >= 0);
ALTER TABLE projections.oversight_cells
    ADD COLUMN returns            int NOT NULL DEFAULT 0 CHECK (returns >= 0),
    ADD COLUMN complaints_overdue int NOT NULL DEFAULT 0 CHECK (complaints_overdue >= 0);

RESET ROLE;

-- Grouped notifications: the rows of one mail share a slot.
ALTER TABLE outbox ADD COLUMN slot TEXT;        -- Message-ID of its first row
ALTER TABLE outbox ADD COLUMN slot_group TEXT;  -- JSON: contact, recipient and the values of group_by
ALTER TABLE outbox ADD COLUMN slot_at INTEGER;  -- when its mail leaves
CREATE INDEX outbox_by_slot ON outbox (slot) WHERE slot IS NOT NULL;
CREATE INDEX outbox_slots ON outbox (slot_at) WHERE slot_at IS NOT NULL;

-- Characters, annotated pages and tool calls of holds.

-- Speech is billed by the character, annotated pages at a price of their own, and some tools
-- by the call: a JSON object with the count for each tool's name, '' for none.
ALTER TABLE holds ADD COLUMN held_characters INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN held_annotated_pages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN held_tool_calls TEXT NOT NULL DEFAULT '';
ALTER TABLE holds ADD COLUMN charged_characters INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN charged_annotated_pages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN charged_tool_calls TEXT NOT NULL DEFAULT '';

"""The tables of the floor (`floor.py`), in a module that needs no environment."""

FLOOR_SCHEMA = """
CREATE TABLE IF NOT EXISTS wallet (id int PRIMARY KEY, available bigint NOT NULL, held bigint NOT NULL);
CREATE TABLE IF NOT EXISTS hold (id uuid PRIMARY KEY, wallet int NOT NULL, amount bigint NOT NULL, open bool NOT NULL);
CREATE TABLE IF NOT EXISTS entry (id uuid PRIMARY KEY, wallet int NOT NULL, amount bigint NOT NULL, at timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS usage (id uuid PRIMARY KEY, wallet int NOT NULL, facts jsonb NOT NULL, at timestamptz NOT NULL);
INSERT INTO wallet SELECT number, 1000000000000, 0 FROM generate_series(0, 49) number ON CONFLICT DO NOTHING;
"""

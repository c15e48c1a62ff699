"""The tables of a journal. One that is missing in a home of before is made when its journal is opened."""

from __future__ import annotations

SCHEMA = """
CREATE TABLE IF NOT EXISTS updates (
    id INTEGER PRIMARY KEY,
    parent TEXT NOT NULL, generation TEXT NOT NULL, frames TEXT NOT NULL, config TEXT NOT NULL, version TEXT NOT NULL,
    begun TEXT NOT NULL, stage TEXT NOT NULL DEFAULT '', step INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, ended TEXT, outcome TEXT, message TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS one_in_progress ON updates (outcome IS NULL) WHERE outcome IS NULL;
CREATE TABLE IF NOT EXISTS checkpoints (
    stage TEXT PRIMARY KEY, step INTEGER NOT NULL, file TEXT NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, who TEXT NOT NULL, event TEXT NOT NULL, facts TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS labels (id INTEGER PRIMARY KEY AUTOINCREMENT, label TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS frames (
    id INTEGER PRIMARY KEY AUTOINCREMENT, label INTEGER NOT NULL REFERENCES labels, file TEXT NOT NULL UNIQUE,
    sha256 TEXT NOT NULL, size INTEGER NOT NULL, added TEXT NOT NULL, reason TEXT, released INTEGER NOT NULL DEFAULT 0,
    generation TEXT, noted INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS purge (facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS left_out (label TEXT PRIMARY KEY, why TEXT NOT NULL, seconds REAL NOT NULL);
"""

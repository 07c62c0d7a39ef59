// Package inventory is the configuration information database: one record for
// each device of the home, and the home's history.
//
// Each record is one small JSON file, replaced whole: after a power cut at any
// instant it is the old one or the new one. Nothing is written while nothing
// changes. On a full disk the database goes on in memory and says so.
package inventory

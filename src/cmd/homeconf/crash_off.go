//go:build !crashpoints

package main

// crashStep is told of the points between two steps; only a build for crash
// tests takes notice.
func crashStep() func(string) { return nil }

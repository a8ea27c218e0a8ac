// Package orchestrator plans and runs a project and reports how it ended.
//
// NewPlan, which is pure, turns a config.Project into a Plan: a graph of Jobs in the order of their start. Run carries a plan out over a
// Runtime, which boots sub-kernels, and returns a Report. The package owns the Runtime interface; it knows neither HCL nor how a
// sub-kernel is booted, nor that it runs on this host.
package orchestrator

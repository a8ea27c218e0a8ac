package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit statuses of sekexe's own. Those of commands are passed on as they are.
const (
	exitUsage  = 2   // the command line or the configuration is wrong
	exitFailed = 125 // sekexe itself, or a boot, failed
)

// A statusError ends sekexe with a status. With an error in it, that is printed; without, all has been said.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

// status ends sekexe without another word.
func status(n int) error {
	if n == 0 {
		return nil
	}
	return &statusError{status: n}
}

// run is all of sekexe. It returns the exit status.
func run(ctx context.Context, args []string) int {
	// A Go program dies of writing to a stdout that nobody reads, unless it has asked for the signal. A run must end in an orderly way.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	cmd := newRootCommand(args)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var se *statusError
	if !errors.As(err, &se) { // cobra's own: flags and arguments
		say("error", err.Error())
		say("hint", fmt.Sprintf("%s --help says how it is used", commandPath(cmd, args)))
		return exitUsage
	}
	if se.err != nil {
		sayError(se.err)
	}
	return se.status
}

func commandPath(root *cobra.Command, args []string) string {
	if c, _, err := root.Find(args); err == nil {
		return c.CommandPath()
	}
	return root.CommandPath()
}

// commands make those of sekexe.
var commands = map[string]func() *cobra.Command{
	"run": newRunCommand, "up": newUpCommand, "validate": newValidateCommand, "config": newConfigCommand, "plan": newPlanCommand, "fmt": newFmtCommand,
	"init": newInitCommand, "lock": newLockCommand, "kernel": newKernelCommand, "docker": newDockerCommand, "doctor": newDoctorCommand,
}

// newRootCommand makes sekexe with the command that args begin with alone, or, if they begin with none, with all of them: to make the
// others would be most of what a short run does before its kernel starts.
func newRootCommand(args []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "sekexe",
		Short: "Compose for kernels: run commands in Linux kernels that are plain processes",
		Long: `sekexe boots sub-kernels: complete Linux kernels that run as ordinary processes (User Mode Linux), without KVM, root or an image.

  sekexe run "env ; exit 42"     boots one, runs the command in it, and exits with 42
  sekexe up                      boots those that sekexe.hcl declares, and reports every exit status`,
		SilenceErrors: true, SilenceUsage: true,
		Version: version(),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.Help(); err != nil {
				return err
			}
			return status(exitUsage)
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetVersionTemplate("sekexe {{.Version}}\n")
	if len(args) > 0 && commands[args[0]] != nil {
		root.AddCommand(commands[args[0]]())
		return root
	}
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		root.AddCommand(commands[name]())
	}
	return root
}

// version is what the build recorded.
func version() string {
	bi, ok := debug.ReadBuildInfo()
	if !ok || bi.Main.Version == "" {
		return "(unknown)"
	}
	return bi.Main.Version
}

// say writes one line for the user to stderr. The rules of all that sekexe says there: it begins with "sekexe: ", a kind and a colon; one
// sentence, no capital, no full stop; an error says what happened, a hint what to do about it.
func say(kind, text string) { fmt.Fprintf(os.Stderr, "sekexe: %s: %s\n", kind, text) }

// sayError says an error, and its hint if it has one.
func sayError(err error) {
	say("error", err.Error())
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		say("hint", h.Hint())
	}
}

// failure is an error of sekexe's own.
func failure(err error) error { return &statusError{status: exitFailed, err: err} }

// misuse is an error in the command line that cobra doesn't see.
func misuse(format string, args ...any) error {
	return &statusError{status: exitUsage, err: fmt.Errorf(format, args...)}
}

package uml

import (
	"bufio"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestChildrenCPU(t *testing.T) {
	before := childrenCPU(os.Getpid())
	cmd := exec.Command("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo; read x")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadByte(); err != nil {
		t.Fatal(err)
	}
	d := childrenCPU(os.Getpid()) - before
	in.Close()
	_ = cmd.Wait() // read has found the end of its input
	ran := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if d < 20*time.Millisecond || d > 2*ran+100*time.Millisecond {
		t.Errorf("childrenCPU = %v of a child that ran for %v", d, ran)
	}
	if ranFor("0") != 0 || childrenCPU(-1) != 0 {
		t.Error("a process that is not there has run")
	}
}

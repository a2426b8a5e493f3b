// One memberlist node with its defaults for a LAN, told what to do line by line as simulations/benchmarks/node_program.py
// is: begin, status TEXT, leave. It prints the same lines, with the time of CLOCK_MONOTONIC.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"log"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/hashicorp/memberlist"
)

type note struct {
	Event string  `json:"event"`
	ID    string  `json:"id"`
	Value string  `json:"value"`
	T     float64 `json:"t"`
}

var output sync.Mutex

func tell(event, id, value string) {
	var now syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&now)), 0)
	line, err := json.Marshal(note{event, id, value, float64(now.Sec) + float64(now.Nsec)/1e9})
	if err != nil {
		log.Fatal(err)
	}
	output.Lock()
	defer output.Unlock()
	os.Stdout.Write(append(line, '\n'))
}

// A list that was shut down still reports deaths when its suspicion timers fire: nobody is to hear of those.
type events struct{ isOver int32 }

func (e *events) tell(event, id, value string) {
	if atomic.LoadInt32(&e.isOver) == 0 {
		tell(event, id, value)
	}
}
func (e *events) NotifyJoin(n *memberlist.Node)   { e.tell("joined", n.Name, "") }
func (e *events) NotifyLeave(n *memberlist.Node)  { e.tell("gone", n.Name, "") }
func (e *events) NotifyUpdate(n *memberlist.Node) { e.tell("updated", n.Name, string(n.Meta)) }

// The status travels as the node's metadata, which is what memberlist has for it.
type status struct {
	sync.Mutex
	text string
}

func (s *status) NodeMeta(limit int) []byte {
	s.Lock()
	defer s.Unlock()
	return []byte(s.text)
}
func (s *status) NotifyMsg([]byte)                {}
func (s *status) GetBroadcasts(int, int) [][]byte { return nil }
func (s *status) LocalState(bool) []byte          { return nil }
func (s *status) MergeRemoteState([]byte, bool)   {}

func main() {
	id := flag.String("id", "", "the node's name")
	host := flag.String("host", "", "the address to bind to")
	join := flag.String("join", "", "HOST:PORT of a node to begin with")
	flag.Parse()

	var list *memberlist.Memberlist
	var heard *events
	own := &status{}
	tell("ready", "", "")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.SplitN(lines.Text(), " ", 2)
		switch words[0] {
		case "begin":
			config := memberlist.DefaultLANConfig()
			config.Name, config.BindAddr = *id, *host
			heard = &events{}
			config.Events, config.Delegate = heard, own
			created, err := memberlist.Create(config)
			if err != nil {
				log.Fatal(err)
			}
			list = created
			if *join != "" {
				go func() { // The first node may not listen yet.
					for {
						if _, err := created.Join([]string{*join}); err == nil {
							return
						}
						time.Sleep(100 * time.Millisecond)
					}
				}()
			}
		case "status":
			own.Lock()
			own.text = words[1]
			own.Unlock()
			go list.UpdateNode(10 * time.Second)
		case "leave":
			leaving, muted := list, heard
			go func() {
				leaving.Leave(10 * time.Second)
				leaving.Shutdown()
				atomic.StoreInt32(&muted.isOver, 1)
				tell("left", "", "")
			}()
		default:
			log.Fatalf("unknown command %q", lines.Text())
		}
	}
}

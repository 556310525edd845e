use wasmtime::ResourceLimiter as _;

use super::super::host::tests::{TestInner, inner};
use super::*;

fn data(test: &TestInner, timeout_ms: u64, length_ms: u64) -> RunData {
    let setup = RunSetup {
        timeout: Duration::from_millis(timeout_ms),
        length: Duration::from_millis(length_ms),
        memory: 1 << 20,
        grants: Arc::default(),
        node: None,
        state: None,
        dry_run: false,
        fuel: HOSTCALL_FUEL,
    };
    test.inner.store(setup).into_data()
}

#[tokio::test]
async fn a_noted_fault_of_the_engine_ends_every_wait_but_a_success() {
    let test = inner();
    let noted = Progress::new(Phase::Connect);
    noted.note(&rustix::io::Errno::MFILE.into());
    let waits = data(&test, 20, 60_000).waits;
    let over = Waits {
        deadline: Instant::now(),
        ..waits
    };
    let found = waits.on_target(&noted, async { Ok(1) }).await.unwrap();
    assert!(matches!(found, Ok(1)));
    let wait = || std::future::pending::<Result<(), NetError>>();
    let refused = async { Err(NetError::Refused) };
    for result in [
        waits.on_target(&noted, refused).await,
        waits.on_target(&noted, wait()).await,
        over.on_target(&noted, wait()).await,
    ] {
        let error = result.unwrap_err();
        let stop = error.downcast_ref::<Stop>();
        assert!(matches!(stop, Some(Stop::Host(what)) if what.contains("open files")));
    }
    // Without a note the target is what did not answer.
    let quiet = Progress::new(Phase::Connect);
    let found = waits.on_target(&quiet, wait()).await.unwrap();
    assert!(matches!(found, Err(NetError::Timeout(Phase::Connect))));
    let error = over.on_target(&quiet, wait()).await.unwrap_err();
    let stop = error.downcast_ref::<Stop>();
    assert!(matches!(stop, Some(Stop::Target(Phase::Connect))));
}

#[tokio::test]
async fn a_guest_that_was_not_seen_is_lent_time_once_and_in_every_call() {
    let test = inner();
    let mut data = data(&test, 400, 900);
    let begun = Instant::now();
    let at = |ms: u64| begun + Duration::from_millis(ms);
    data.waits.deadline = at(900);
    data.pace.seen = begun;
    let bound = data.bound();
    // Seen at every tick and late: its own fault.
    data.ticked(at(899)).unwrap();
    assert!(matches!(data.ticked(at(901)), Err(Stop::Deadline(_))));
    // Not seen for long: as much time as it has beyond its wait.
    data.pace.seen = at(500);
    data.ticked(at(1_000)).unwrap();
    assert_eq!(data.waits.deadline, at(1_500));
    assert_eq!(bound.outside.lent.get(), Some(&at(1_500)));
    data.pace.seen = at(1_400);
    assert!(matches!(data.ticked(at(1_500)), Err(Stop::Deadline(_))));
    // The next call of a guest that lives on begins anew.
    data.waits.deadline = at(2_000);
    data.pace = Pace::new();
    data.pace.seen = at(1_900);
    data.ticked(at(2_000)).unwrap();
}

#[tokio::test]
async fn what_waits_elsewhere_is_lent_the_same_time() {
    let test = inner();
    let bound = |data: &RunData| data.bound();
    let mut lent = data(&test, 0, 200);
    lent.waits.deadline = Instant::now();
    let wait = bound(&lent);
    // Ticked late, as above: the bound beside it must not end the run.
    lent.pace.seen = Instant::now() - Duration::from_secs(1);
    let slow = async {
        lent.ticked(Instant::now())?;
        tokio::time::sleep(GRACE + Duration::from_millis(60)).await;
        Ok(7)
    };
    assert_eq!(bounded(wait, slow).await.unwrap(), 7);
    // A timer that is late itself.
    let mut late = data(&test, 0, 200);
    late.waits.deadline = Instant::now();
    let wait = bound(&late);
    let starved = async {
        std::thread::sleep(GRACE + UNSEEN + Duration::from_millis(20));
        tokio::task::yield_now().await;
        Ok(8)
    };
    assert_eq!(bounded(wait, starved).await.unwrap(), 8);
    late.waits.deadline = Instant::now();
    let wait = bound(&late);
    let error = bounded(wait, std::future::pending::<wasmtime::Result<()>>()).await;
    let error = error.unwrap_err();
    assert!(matches!(error.downcast_ref::<Stop>(), Some(Stop::Wasi(_))));
}

#[test]
fn only_a_success_is_believed_beside_a_fault_of_the_engine() {
    let test = inner();
    let mut data = data(&test, 100, 200);
    let fine = |answer: &u8| *answer == 0;
    assert_eq!(data.unless_own_fault(Ok(3), fine).unwrap(), 3);
    super::super::wasi_http::tests::own_fault(&mut data, "no files left");
    assert_eq!(data.unless_own_fault(Ok(0), fine).unwrap(), 0);
    for result in [Ok(3), Err(Trap::UnreachableCodeReached.into())] {
        let error = data.unless_own_fault(result, fine).unwrap_err();
        let End::Fault(fault) = classify(&error, &data) else {
            panic!("{error:?}")
        };
        assert_eq!(
            (fault.kind, &*fault.text),
            (FaultKind::Engine, "no files left")
        );
    }
}

#[tokio::test]
async fn a_machine_without_memory_is_no_crash() {
    use rustix::io::Errno;
    let test = inner();
    let data = data(&test, 100, 200);
    let kind = |error: wasmtime::Error| match classify(&error, &data) {
        End::Fault(fault) => fault.kind,
        End::Target(phase) => panic!("{phase:?}"),
    };
    let io = |errno: Errno| std::io::Error::from(errno);
    assert_eq!(kind(Errno::NOMEM.into()), FaultKind::Engine);
    assert_eq!(kind(io(Errno::MFILE).into()), FaultKind::Engine);
    let inside = wasmtime::Error::from(Errno::NOMEM).context("mprotect failed");
    assert_eq!(kind(inside), FaultKind::Engine);
    assert_eq!(kind(Errno::INVAL.into()), FaultKind::Trap);
    assert_eq!(kind(io(Errno::NOENT).into()), FaultKind::Trap);
    let mut limiter = Limiter::new(1 << 20);
    assert!(limiter.memory_grow_failed(Errno::NOMEM.into()).is_err());
    let beyond = wasmtime::Error::msg("beyond its maximum");
    assert!(limiter.memory_grow_failed(beyond).is_ok());
}

#[tokio::test]
async fn a_guest_that_looks_at_its_socket_again_and_again_waits_on_its_target() {
    let test = inner();
    let ended = |waited: u64, used: bool| {
        let mut data = data(&test, 100, 200);
        let spent = Duration::from_millis(waited);
        data.pace.outside.waited.add(spent);
        if used {
            super::super::wasi_http::tests::asked(&mut data);
        }
        match classify(&Stop::Deadline(spent).into(), &data) {
            End::Fault(fault) => Some(fault.kind),
            End::Target(phase) => {
                assert_eq!(phase, Phase::Receive);
                None
            }
        }
    };
    assert_eq!(ended(150, true), None);
    assert_eq!(ended(50, true), Some(FaultKind::Deadline));
    assert_eq!(ended(150, false), Some(FaultKind::Deadline));
}

#[tokio::test]
async fn a_command_that_takes_long_is_no_crash() {
    let test = inner();
    let data = data(&test, 100, 200);
    let ended = |stop: Stop| match classify(&stop.into(), &data) {
        End::Fault(fault) => fault.kind,
        End::Target(phase) => panic!("{phase:?}"),
    };
    let second = Duration::from_secs(1);
    assert_eq!(ended(Stop::Command(second)), FaultKind::Failed);
    assert_eq!(ended(Stop::Waiting("a file", second)), FaultKind::Engine);
    assert_eq!(ended(Stop::Deadline(second)), FaultKind::Deadline);
    assert_eq!(ended(Stop::Wasi(second)), FaultKind::Deadline);
}

//! Small programs of two blocks that show what the memory model allows.

use super::operations::{Way, run};

/// Block 0 runs `first`, the others `second`, each in one thread, over words 64 bytes apart: `[%at]`, `[%at+64]` and so on.
fn of_two(first: &str, second: &str) -> String {
    format!(
        "mov.u32 %w30, %ctaid.x;\nmov.u32 %w31, %tid.x;\nsetp.ne.s32 %p7, %w31, 0;\n@%p7 ret;\nsetp.ne.s32 %p8, %w30, 0;\n@%p8 bra $second;\n\
         {first}\nret;\n$second:\n{second}\nret;"
    )
}

fn word(bytes: &[u8], i: usize) -> u32 {
    u32::from_le_bytes(bytes[64 * i..64 * i + 4].try_into().unwrap())
}

/// What two blocks leave in words 2 and 3, over many orders; or the faults.
fn outcomes(first: &str, second: &str) -> Vec<Result<(u32, u32), String>> {
    let body = of_two(first, second);
    let mut all: Vec<_> =
        (1..400).map(|seed| run(&body, &[0; 256], Way::blocks(2, seed)).map(|b| (word(&b, 2), word(&b, 3)))).collect();
    all.sort();
    all.dedup_by(|a, b| a == b || a.is_err() && b.is_err());
    all
}

/// Waits for the flag at word 1, then copies the message at word 0.
const WAIT: &str = "$wait:\nld.volatile.global.u32 %w0, [%at+64];\nsetp.eq.s32 %p0, %w0, 0;\n@%p0 bra $wait;\n";
const COPY: &str = "ld.global.u32 %w1, [%at];\nst.global.u32 [%at+128], %w1;";

#[test]
fn a_message_passes_between_fences_and_races_without_one() {
    let send = |fence: &str| format!("st.global.u32 [%at], 41;\n{fence}st.volatile.global.u32 [%at+64], 1;");
    let receive = |fence: &str| format!("{WAIT}{fence}{COPY}");
    let fence = "membar.gl;\n";
    assert_eq!(outcomes(&send(fence), &receive(fence)), [Ok((41, 0))]);
    for (first, second) in [("", fence), (fence, ""), ("", "")] {
        let found = outcomes(&send(first), &receive(second));
        assert!(found.iter().all(|o| o.as_ref().is_err_and(|e| e.contains("races"))), "{found:?}");
    }
    // The sender's fence may also stand before an atomic, and the message pass through a third block's atomic.
    let send = "st.global.u32 [%at], 41;\nmembar.gl;\natom.global.add.u32 %w0, [%at+64], 1;";
    let receive = format!(
        "$wait:\natom.global.add.u32 %w0, [%at+64], 0;\nsetp.eq.s32 %p0, %w0, 0;\n@%p0 bra $wait;\nmembar.gl;\n{COPY}"
    );
    assert_eq!(outcomes(send, &receive), [Ok((41, 0))]);
    let through = format!(
        "setp.eq.s32 %p1, %w30, 2;\n@%p1 bra $middle;\n$wait:\nld.volatile.global.u32 %w0, [%at+64];\nsetp.ne.s32 %p0, %w0, 3;\n@%p0 bra $wait;\n\
         membar.gl;\n{COPY}\nret;\n$middle:\nld.volatile.global.u32 %w0, [%at+64];\nsetp.eq.s32 %p0, %w0, 0;\n@%p0 bra $middle;\n\
         atom.global.add.u32 %w0, [%at+64], 2;"
    );
    for seed in 1..100 {
        assert_eq!(word(&run(&of_two(send, &through), &[0; 256], Way::blocks(3, seed)).unwrap(), 2), 41);
    }
}

#[test]
fn a_message_passes_from_all_threads_of_a_block_through_its_barrier() {
    let body = |send: &str, receive: &str| {
        format!(
            "mov.u32 %w30, %ctaid.x;\nmov.u32 %w31, %tid.x;\nsetp.ne.s32 %p1, %w31, 0;\ncvt.u64.u32 %x1, %w31;\nadd.s64 %x1, %at, %x1;\n\
             setp.ne.s32 %p8, %w30, 0;\n@%p8 bra $second;\nst.global.u8 [%x1+128], %w31;\n{send}@%p1 ret;\nmembar.gl;\nst.volatile.global.u32 [%at+64], 1;\nret;\n\
             $second:\n@%p1 bra $meet;\n{WAIT}membar.gl;\n$meet:\n{receive}ld.global.u8 %w1, [%x1+128];\nst.global.u8 [%x1+192], %w1;"
        )
    };
    let way = |seed| Way { threads: 64, ..Way::blocks(2, seed) };
    let barrier = "bar.sync 0;\n";
    for seed in 1..50 {
        let out = run(&body(barrier, barrier), &[0; 256], way(seed)).unwrap();
        assert!(out[192..].iter().enumerate().all(|(i, v)| *v as usize == i));
        for (send, receive) in [("", barrier), (barrier, "")] {
            let e = run(&body(send, receive), &[0; 256], way(seed)).unwrap_err();
            assert!(e.contains("races"), "{e}");
        }
    }
}

#[test]
fn strong_accesses_to_two_words_are_ordered_by_fences_alone() {
    // Load buffering: both may see the other's store, unless fences stand between.
    let side = |read: usize, write: usize, result: usize, fence: &str| {
        format!(
            "ld.volatile.global.u32 %w0, [%at+{read}];\n{fence}st.volatile.global.u32 [%at+{write}], 1;\nst.global.u32 [%at+{result}], %w0;"
        )
    };
    let buffered = |fence: &str| outcomes(&side(0, 64, 128, fence), &side(64, 0, 192, fence));
    assert!(buffered("").contains(&Ok((1, 1))));
    assert_eq!(buffered("membar.gl;\n"), [Ok((0, 0)), Ok((0, 1)), Ok((1, 0))]);
    // Store buffering: neither may see the other's.
    let side = |write: usize, read: usize, result: usize, fence: &str| {
        format!(
            "st.volatile.global.u32 [%at+{write}], 1;\n{fence}ld.volatile.global.u32 %w0, [%at+{read}];\nst.global.u32 [%at+{result}], %w0;"
        )
    };
    let buffered = |fence: &str| outcomes(&side(0, 64, 128, fence), &side(64, 0, 192, fence));
    assert!(buffered("").contains(&Ok((0, 0))));
    assert_eq!(buffered("membar.gl;\n"), [Ok((0, 1)), Ok((1, 0)), Ok((1, 1))]);
    // An atomic does not wait for a load of another word before it.
    let side = |read: usize, write: usize, result: usize, fence: &str| {
        format!(
            "ld.volatile.global.u32 %w0, [%at+{read}];\n{fence}atom.global.add.u32 %w1, [%at+{write}], 1;\nst.global.u32 [%at+{result}], %w0;"
        )
    };
    assert!(outcomes(&side(0, 64, 128, ""), &side(64, 0, 192, "")).contains(&Ok((1, 1))));
    assert!(!outcomes(&side(0, 64, 128, "membar.gl;\n"), &side(64, 0, 192, "membar.gl;\n")).contains(&Ok((1, 1))));
}

#[test]
fn one_word_never_goes_back() {
    let write = "st.volatile.global.u32 [%at], 1;\nst.volatile.global.u32 [%at], 2;";
    let read = "ld.volatile.global.u32 %w0, [%at];\nld.volatile.global.u32 %w1, [%at];\nst.global.u32 [%at+128], %w0;\nst.global.u32 [%at+192], %w1;";
    let found = outcomes(write, read);
    assert!(found.iter().all(|o| o.as_ref().is_ok_and(|(a, b)| a <= b)) && found.len() > 3, "{found:?}");
    let own = "st.volatile.global.u32 [%at], 5;\nld.volatile.global.u32 %w0, [%at];\nst.global.u32 [%at+128], %w0;";
    assert_eq!(outcomes(own, ""), [Ok((5, 0))]);
}

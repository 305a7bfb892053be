<?php

declare(strict_types=1);

namespace Lectern;

/** What a reader did. */
enum Kind: int
{
    /** Opened the content. */
    case Open = 0;
    /** Kept reading: a heartbeat. */
    case Read = 1;
    /** Reached the end. */
    case Finish = 2;
    /** Kept it for later. */
    case Save = 3;
    /** Passed it on. */
    case Share = 4;
    /** Was shown the content's headline, where others are listed with it. */
    case Impression = 5;
    /** Followed it. */
    case Click = 6;
}
